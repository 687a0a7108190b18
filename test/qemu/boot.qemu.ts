/** Boots Debian's kernels in our guests: each entry, several addresses, moved by their own code and by ours. */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { SETUP_HEADER_OFFSET, SetupHeader } from '../../lib/abi/boot-params.js'
import { buildDomain, type Domain, type Kernel, type LinuxConfig, readKernel } from '../../lib/index.js'
import { type Architecture, findKernel, type KernelName } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, runInQemu, showConsole } from './harness.js'
import { asDyn, e820Lines, guestSaid } from './linux-guest.js'
import { findBusybox, payloadChecksum, ramdisk } from './ramdisk.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const CMDLINE = `${LINUX_CMDLINE} quiet`
const TEXT = { amd64: 0xffffffff81000000n, i386: 0xc1000000n } as const
/** The physical address at which both kernels are linked. */
const LINKED_AT = 0x1000000

interface Boot {
  readonly name: string
  readonly kernel: KernelName
  readonly arch: Architecture
  readonly config: Partial<LinuxConfig>
  /** The physical address of the running kernel's code; default as linked. */
  readonly runsAt?: number
  readonly virtualOffset?: bigint
  /** Makes the bytes for readKernel, instead of the file. */
  readonly prepare?: (kernel: Kernel) => Uint8Array
}

/** Returns the file, marked as a kernel that cannot move; it must then be at 1 MiB. */
function fixed(kernel: Kernel): Uint8Array {
  const file = Uint8Array.from(kernel.linux?.bytes ?? [])
  file[SETUP_HEADER_OFFSET + SetupHeader.offsetOf('relocatable_kernel')] = 0
  return file
}

/** Reserves memory at 1 MiB: the kernel is loaded at 2 MiB, and a hook moves it. */
const hooked = { reserve: [{ start: 0x100000, end: 0x180000 }] } as const

const amd64 = { kernel: 'debian-amd64', arch: 'amd64' } as const
const i386 = { kernel: 'debian-686-pae', arch: 'i386' } as const
const vmlinux = { image: 'vmlinux' } as const
const boots: readonly Boot[] = [
  { name: '64-bit entry', ...amd64, config: { entry: 64 } },
  { name: '64-bit entry at 0x5000000', ...amd64, config: { entry: 64, loadAddress: 0x5000000 }, runsAt: 0x5000000 },
  {
    name: '64-bit entry above 4 GiB',
    ...amd64,
    config: { entry: 64, loadAddress: 0x120000000, memory: 5 * GiB },
    runsAt: 0x120000000,
  },
  { name: '32-bit entry', ...amd64, config: { entry: 32 } },
  { name: '32-bit entry at 1 MiB', ...amd64, config: { entry: 32, loadAddress: 0x100000 } },
  {
    name: '32-bit entry at 0x50000000',
    ...amd64,
    config: { entry: 32, loadAddress: 0x50000000, memory: 1600 * MiB },
    runsAt: 0x50000000,
  },
  { name: '686-pae, 32-bit entry', ...i386, config: { entry: 32 } },
  { name: '686-pae at 0x5000000', ...i386, config: { entry: 32, loadAddress: 0x5000000 }, runsAt: 0x5000000 },
  { name: '16-bit entry', ...amd64, config: { entry: 16 } },
  { name: '16-bit entry, not relocatable', ...amd64, config: { entry: 16 }, prepare: fixed },
  { name: '32-bit entry through the hook', ...amd64, config: { entry: 32, ...hooked }, prepare: fixed },
  { name: '16-bit entry through the hook', ...amd64, config: { entry: 16, ...hooked }, prepare: fixed },
  { name: '686-pae, 32-bit entry through the hook', ...i386, config: { entry: 32, ...hooked }, prepare: fixed },
  { name: '686-pae, 16-bit entry through the hook', ...i386, config: { entry: 16, ...hooked }, prepare: fixed },
  { name: 'vmlinux where it is linked', ...amd64, config: vmlinux },
  {
    name: 'vmlinux moved by us, physically and virtually apart',
    ...amd64,
    config: { ...vmlinux, loadAddress: LINKED_AT + 0x10000000, virtualOffset: 0x6000000n },
    runsAt: LINKED_AT + 0x10000000,
    virtualOffset: 0x6000000n,
  },
  {
    name: 'vmlinux as ET_DYN, without anything but the ELF',
    ...amd64,
    config: { loadAddress: LINKED_AT + 0x4000000 },
    runsAt: LINKED_AT + 0x4000000,
    prepare: asDyn,
  },
  {
    name: '686-pae vmlinux moved by us',
    ...i386,
    config: { ...vmlinux, loadAddress: LINKED_AT + 0x4000000 },
    runsAt: LINKED_AT + 0x4000000,
    virtualOffset: 0x4000000n,
  },
]

function check(t: Test, output: string, domain: Domain, boot: Boot): void {
  const said = (what: string): string[] => guestSaid(output, what)
  t.same(said('CMDLINE'), [CMDLINE])
  t.same(said('PAYLOAD'), [payloadChecksum], 'the ramdisk arrived whole')
  // From the real-mode entry, it gets the map from the BIOS.
  if (boot.config.entry !== 16) t.same(said('E820'), e820Lines(domain), 'the memory map it was given')
  if (boot.config.reserve === hooked.reserve) {
    t.equal(domain.regions.find(({ name }) => name === 'kernel')?.pfn, 0x200, 'it was loaded at 2 MiB')
    t.ok(domain.regions.some(({ name }) => name === 'hook'))
  }
  t.same(said('READY'), [boot.arch === 'amd64' ? 'x86_64' : 'i686'])
  const [code = ''] = said('CODE')
  t.equal(Number.parseInt(code.trim(), 16), boot.runsAt ?? LINKED_AT, `it runs where it was put: ${code.trim()}`)
  const [text = ''] = said('TEXT')
  t.equal(BigInt(`0x${text.split(' ')[0] || '0'}`), TEXT[boot.arch] + (boot.virtualOffset ?? virtualOf(boot)), text)
}

/** Returns the virtual offset. A 32-bit kernel's virtual addresses follow its physical ones, after any move. */
const virtualOf = ({ arch, runsAt = LINKED_AT }: Boot): bigint => (arch === 'i386' ? BigInt(runsAt - LINKED_AT) : 0n)

for (const boot of boots) {
  t.test(boot.name, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const busybox = await requirePeer(t, () => findBusybox(boot.arch))
    if (busybox === undefined) return
    const file = await requirePeer(t, () => findKernel(boot.kernel))
    if (file === undefined) return
    const kernel = await readKernel(readFileSync(file))
    const domain = buildDomain(boot.prepare ? await readKernel(boot.prepare(kernel)) : kernel, {
      memory: 512 * MiB,
      cmdline: CMDLINE,
      ramdisk: ramdisk(busybox),
      reserve: [{ start: 0x1e000000, end: 0x1e100000 }],
      ...boot.config,
      type: 'linux',
    })
    const start = performance.now()
    const output = await runInQemu(domain)
    t.comment(`${((performance.now() - start) / 1000).toFixed(1)} s`)
    check(t, output, domain, boot)
    showConsole(t, output)
  })
}
