/**
 * Debian's kernel runs its first process on every awkward machine, or ends elsewhere for the reason that is listed here.
 *
 * Source: Linux arch/x86/platform/pvh/enlighten.c and init/main.c; ../../lib/testing/variants.
 * Gotcha: a listed end is checked as well. If a newer kernel survives that machine, the test fails, and the line must go.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { SystemAssembler } from '../../lib/asm/system.js'
import { buildDomain, type Domain, DomainBuilderError, type DomainConfig, readKernel } from '../../lib/index.js'
import type { GuestRun } from '../../lib/runner/guest-run.js'
import { openQemu } from '../../lib/runner/qemu.js'
import { type BootInfoVariant, bootInfoVariants, buildElf, registers } from '../../lib/testing/index.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, showConsole } from './harness.js'
import { tinyRamdisk } from './ramdisk.js'

const MiB = 2 ** 20
/** 128 processors start one after another, and a busy machine is slow. */
const PATIENCE_SECONDS = 240
/** As many as the processors of the CI machine. */
const AT_ONCE = 2
/** The status of our first process. */
const ALIVE = 42
const SYS_IOPL = 172
const PROCESS = 0x400000n

/** A first process that writes its status to the port, and needs no console for it. */
function init(): Uint8Array {
  const a = new SystemAssembler(PROCESS)
  a.mov(registers.eax, SYS_IOPL)
  a.mov(registers.edi, 3)
  a.syscall()
  a.outb8(0xf4, ALIVE)
  a.label('forever')
  a.jmp('forever')
  const data = a.assemble()
  return buildElf({ class: 64, entry: PROCESS, segments: [{ paddr: Number(PROCESS), vaddr: PROCESS, data }] })
}

/** The end of a guest whose first process does not run: a reset before its first text, if it is neither of these. */
interface OtherEnd {
  /** Text on the console. */
  readonly console?: RegExp
  /** The error that refuses to build or to run the guest. */
  readonly refusal?: RegExp
  readonly reason: string
}
type OtherEnds = Readonly<Record<string, OtherEnd>>

const noRoot = (reason: string): OtherEnd => ({
  console: /Kernel panic - not syncing: VFS: Unable to mount root fs/,
  reason,
})

const NO_RAMDISK: OtherEnds = {
  'ramdisk-none': noRoot('without a ramdisk it goes on to look for a root file system'),
}
const NO_ARCHIVE: OtherEnds = {
  'ramdisk-1-byte': noRoot('a byte is no archive, and it goes on to look for a root file system'),
}
const TOO_LARGE: OtherEnds = {
  'memory-1t': {
    refusal: /more memory than the machine can address/,
    reason: "a terabyte and the hole for devices exceed the 40 address bits of QEMU's processor",
  },
}
const TOO_LARGE_WITH_BIOS: OtherEnds = {
  'memory-1t': {
    refusal: /cannot set up guest memory/,
    reason: 'QEMU reserves the memory of a machine with a BIOS, and hosts have less than a terabyte',
  },
}
const LOW_RAMDISK: OtherEnds = {
  'ramdisk-high': {
    refusal: /initrd_addr_max/,
    reason: 'initrd_addr_max keeps a ramdisk below 2 GiB; only the 64-bit entry goes beyond',
  },
}

const NO_MEMMAP: OtherEnd = {
  reason: 'without a memory map it asks Xen by a hypercall, and stops at BUG() outside Xen',
}
const SHORT_RAMDISK: OtherEnd = {
  console: /unable to handle page fault[\s\S]*RIP: 0010:memcmp[\s\S]*Kernel panic/,
  reason:
    'bootconfig compares the last 15 bytes of the ramdisk; of a shorter one, these begin in the unmapped page of ACPI',
}

interface Base {
  readonly name: string
  readonly config: Partial<DomainConfig> & { readonly type: 'pvh' | 'linux' }
  readonly others: OtherEnds
  /** Left out: a machine whose processors the entry does not change, and which takes minutes to boot. */
  readonly except?: readonly string[]
}

const BASES: readonly Base[] = [
  {
    name: 'PVH',
    config: { type: 'pvh', purpose: 'vmm' },
    others: {
      'version-0': NO_MEMMAP,
      'no-memmap': NO_MEMMAP,
      'ramdisk-high': noRoot('it copies the low 32 bits of the address into ramdisk_image'),
      'memory-least': {
        console: /Out of memory[\s\S]*Kernel panic - not syncing: System is deadlocked on memory/,
        reason: 'the memory that has room for its image is too little to unpack a ramdisk',
      },
      ...TOO_LARGE,
      ...NO_RAMDISK,
      'ramdisk-1-byte': SHORT_RAMDISK,
      'modules-many': SHORT_RAMDISK,
    },
  },
  {
    name: '64-bit entry',
    config: { type: 'linux', entry: 64 },
    others: { ...TOO_LARGE, ...NO_RAMDISK, ...NO_ARCHIVE },
    except: ['vcpus-128'],
  },
  {
    name: '32-bit entry',
    config: { type: 'linux', entry: 32 },
    others: { ...LOW_RAMDISK, ...TOO_LARGE, ...NO_RAMDISK, ...NO_ARCHIVE },
    except: ['vcpus-128'],
  },
  {
    name: '16-bit entry',
    config: { type: 'linux', entry: 16 },
    others: {
      ...LOW_RAMDISK,
      ...TOO_LARGE_WITH_BIOS,
      ...NO_RAMDISK,
      ...NO_ARCHIVE,
    },
    except: ['vcpus-128'],
  },
]

/** earlyprintk shows an early death. With lpj, no processor measures its speed, which takes seconds for 128 of them. */
const CMDLINE = `${LINUX_CMDLINE} earlyprintk=ttyS0 lpj=4000000`
const PANIC = /Kernel panic - not syncing: [^\n]*\n/

/** Returns the run of a variant, or the error by which it is refused. */
async function run({ build }: Pick<BootInfoVariant, 'build'>): Promise<GuestRun | DomainBuilderError> {
  try {
    const isEnough = (console: string) => PANIC.test(console)
    const result = await openQemu().run(build(), { timeout: PATIENCE_SECONDS, isEnough })
    result.close()
    return result
  } catch (error) {
    if (error instanceof DomainBuilderError) return error
    throw error
  }
}

function check(t: Test, name: string, result: GuestRun | DomainBuilderError, other: OtherEnd | undefined): void {
  if (result instanceof DomainBuilderError) {
    t.match(result.message, other?.refusal ?? /^$/, `${name}: ${other?.reason ?? result.message}`)
    return
  }
  const { ending, console } = result
  if (other === undefined) t.same(ending, { kind: 'exit', code: ALIVE }, name)
  else if (other.console !== undefined) t.match(console, other.console, `${name}: ${other.reason}`)
  else t.same([ending.kind, console], ['reset', ''], `${name}: ${other.reason}`)
  showConsole(t, console)
}

for (const { name, config, others, except = [] } of BASES) {
  t.test(`${name}: Debian's kernel on every awkward machine`, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const file = await requirePeer(t, () => findKernel('debian-cloud-amd64'))
    if (file === undefined) return
    const kernel = await readKernel(readFileSync(file))
    const whole = { memory: 256 * MiB, cmdline: CMDLINE, ramdisk: tinyRamdisk(init()), ...config } as DomainConfig
    const usual = { name: 'usual', build: (): Domain => buildDomain(kernel, whole) }
    const variants = [usual, ...bootInfoVariants(kernel, whole)]
    t.same(
      Object.keys(others).filter((name) => !variants.some((variant) => variant.name === name)),
      [],
      'each listed end is that of a variant',
    )
    const left = variants.filter((variant) => !except.includes(variant.name))
    t.equal(left.length, variants.length - except.length, 'each exception is a variant')
    const worker = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) {
        const start = performance.now()
        const result = await run(next)
        t.comment(`${next.name}: ${((performance.now() - start) / 1000).toFixed(1)} s`)
        check(t, next.name, result, others[next.name])
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
  })
}
