/**
 * Debian's kernel runs its first process on every awkward machine, or dies for the reason that is listed here.
 *
 * Source: Linux arch/x86/platform/pvh/enlighten.c and init/main.c; ../../lib/testing/variants.
 * Gotcha: a listed death is checked as well. If a newer kernel survives it, the test fails, and its line must go.
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

/** A machine on which the first process does not run. */
interface Death {
  /** Where it ends: text on the console, a reset before the first text, or before the guest runs at all. */
  readonly ends: RegExp | 'reset' | 'refused'
  readonly reason: string
}
type Deaths = Readonly<Record<string, Death>>

const noRoot = (reason: string): Death => ({ ends: /Kernel panic - not syncing: VFS: Unable to mount root fs/, reason })
const refused = (reason: string): Death => ({ ends: 'refused', reason })

const NO_RAMDISK: Deaths = {
  'ramdisk-none': noRoot('without a ramdisk it goes on to look for a root file system'),
}
const NO_ARCHIVE: Deaths = {
  'ramdisk-1-byte': noRoot('a byte is no archive, and it goes on to look for a root file system'),
}
const TOO_LARGE: Deaths = {
  'memory-1t': refused("a terabyte and the hole for devices exceed the 40 address bits of QEMU's processor"),
}
const LOW_RAMDISK: Deaths = {
  'ramdisk-high': refused('initrd_addr_max keeps a ramdisk below 2 GiB for the entries that read no ext_ramdisk_image'),
}

const NO_MEMMAP: Death = {
  ends: 'reset',
  reason: 'without a memory map it asks Xen by a hypercall, and stops at BUG() outside Xen',
}
const SHORT_RAMDISK: Death = {
  ends: /unable to handle page fault[\s\S]*RIP: 0010:memcmp[\s\S]*Kernel panic/,
  reason:
    'bootconfig looks for its mark in the 15 bytes before the end of the ramdisk; a shorter one begins after them, ' +
    'and the page before is of ACPI, which is not mapped',
}

interface Base {
  readonly name: string
  readonly config: Partial<DomainConfig> & { readonly type: 'pvh' | 'linux' }
  readonly deaths: Deaths
}

const BASES: readonly Base[] = [
  {
    name: 'PVH',
    config: { type: 'pvh', purpose: 'vmm' },
    deaths: {
      'version-0': NO_MEMMAP,
      'no-memmap': NO_MEMMAP,
      'ramdisk-high': noRoot('it copies the low 32 bits of the address into ramdisk_image'),
      'memory-least': {
        ends: /Out of memory[\s\S]*Kernel panic - not syncing: System is deadlocked on memory/,
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
    deaths: { ...TOO_LARGE, ...NO_RAMDISK, ...NO_ARCHIVE },
  },
  {
    name: '32-bit entry',
    config: { type: 'linux', entry: 32 },
    deaths: { ...LOW_RAMDISK, ...TOO_LARGE, ...NO_RAMDISK, ...NO_ARCHIVE },
  },
  {
    name: '16-bit entry',
    config: { type: 'linux', entry: 16 },
    deaths: {
      ...LOW_RAMDISK,
      'memory-1t': refused('QEMU reserves the memory of a machine with a BIOS, and hosts have less than a terabyte'),
      ...NO_RAMDISK,
      ...NO_ARCHIVE,
    },
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

function check(t: Test, name: string, result: GuestRun | DomainBuilderError, death: Death | undefined): void {
  if (result instanceof DomainBuilderError) {
    t.equal('refused', death?.ends, `${name}: ${result.message}`)
    return
  }
  const { ending, console } = result
  if (death === undefined) t.same(ending, { kind: 'exit', code: ALIVE }, name)
  else if (death.ends instanceof RegExp) t.match(console, death.ends, `${name}: ${death.reason}`)
  else t.same([ending.kind, console], [death.ends, ''], `${name}: ${death.reason}`)
  showConsole(t, console)
}

for (const { name, config, deaths } of BASES) {
  t.test(`${name}: Debian's kernel on every awkward machine`, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const file = await requirePeer(t, () => findKernel('debian-cloud-amd64'))
    if (file === undefined) return
    const kernel = await readKernel(readFileSync(file))
    const whole = { memory: 256 * MiB, cmdline: CMDLINE, ramdisk: tinyRamdisk(init()), ...config } as DomainConfig
    const usual = { name: 'usual', build: (): Domain => buildDomain(kernel, whole) }
    const variants = [usual, ...bootInfoVariants(kernel, whole)]
    t.same(
      Object.keys(deaths).filter((name) => !variants.some((variant) => variant.name === name)),
      [],
      'each listed death is that of a variant',
    )
    const left = [...variants]
    const worker = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) {
        const start = performance.now()
        const result = await run(next)
        t.comment(`${next.name}: ${((performance.now() - start) / 1000).toFixed(1)} s`)
        check(t, next.name, result, deaths[next.name])
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
  })
}
