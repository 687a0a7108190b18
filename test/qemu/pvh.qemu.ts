/**
 * Kernels in our guests enter at PHYS32_ENTRY, and find our values in hvm_start_info.
 *
 * Source: Linux arch/x86/platform/pvh; ../../lib/protocol/pvh.ts.
 * Gotcha: Linux's map differs from ours: it adds the adapter area of every PC, as reserved.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { buildDomain, type Domain, type PvhConfig, readHvmStartInfo, readKernel } from '../../lib/index.js'
import { type Architecture, findKernel, type KernelName } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, runInQemu, showConsole } from './harness.js'
import { findBusybox, payloadChecksum, ramdisk } from './ramdisk.js'

const MiB = 2 ** 20
const LINKED_AT = 0x1000000

interface Boot {
  readonly name: string
  readonly kernel: KernelName
  readonly arch: Architecture
  readonly config: Partial<PvhConfig>
  /** The physical address of the running kernel's code; default as linked. */
  readonly runsAt?: number
}

const amd64 = { kernel: 'debian-amd64', arch: 'amd64' } as const
const cloud = { kernel: 'debian-6.12-cloud-amd64', arch: 'amd64' } as const
const boots: readonly Boot[] = [
  { name: 'amd64, 2 vcpus, PM registers', ...amd64, config: { vcpus: 2 } },
  { name: 'amd64 with memory above 4 GiB', ...amd64, config: { memory: 5 * 2 ** 30 } },
  { name: 'amd64 without ACPI, hence with one vcpu', ...amd64, config: { acpi: 'none' } },
  { name: '686-pae', kernel: 'debian-686-pae', arch: 'i386', config: { vcpus: 2 } },
  { name: '6.12 where it is linked', ...cloud, config: {} },
  {
    name: '6.12 elsewhere, as its PHYS32_RELOC allows',
    ...cloud,
    config: { vcpus: 2, loadAddress: 0x5000000 },
    runsAt: 0x5000000,
  },
]

const TYPES: Readonly<Record<number, string>> = { 1: 'usable', 2: 'reserved', 3: 'ACPI data' }

/** Returns our memory map as Linux prints it, with the area that it adds. */
function e820Lines(domain: Domain): string[] {
  const digits = (value: bigint): string => value.toString(16).padStart(16, '0')
  const ours = readHvmStartInfo(domain).memmap.map(({ addr, size, type }) => ({ addr, end: addr + size, type }))
  return [...ours, { addr: 0xa0000n, end: 0x100000n, type: 2 }]
    .sort((a, b) => (a.addr < b.addr ? -1 : 1))
    .map(({ addr, end, type }) => `[mem 0x${digits(addr)}-0x${digits(end - 1n)}] ${TYPES[type]}`)
}

function check(t: Test, output: string, domain: Domain, boot: Boot): void {
  const said = (what: string): string[] =>
    [...output.matchAll(new RegExp(`GUEST-${what} (.*?)\r?\n`, 'g'))].map((m) => m[1] ?? '')
  t.same(said('CMDLINE'), [LINUX_CMDLINE])
  t.same(said('PAYLOAD'), [payloadChecksum], 'the ramdisk arrived whole')
  // The kernel writes to the console at the same time, so text after the pattern is not init's.
  const e820 = said('E820').map((line) => /^\[mem \S+\] (usable|reserved|ACPI data)/.exec(line)?.[0])
  t.same(e820, e820Lines(domain), 'the memory map it was given')
  t.same(said('READY'), [boot.arch === 'amd64' ? 'x86_64' : 'i686'])
  const [code = ''] = said('CODE')
  t.equal(Number.parseInt(code.trim(), 16), boot.runsAt ?? LINKED_AT, `it runs where it was put: ${code.trim()}`)
  const rsdp = /ACPI: RSDP 0x([0-9A-F]+) /.exec(output)?.[1]
  const { rsdp_paddr } = readHvmStartInfo(domain).fields
  t.equal(rsdp === undefined ? 0n : BigInt(`0x${rsdp}`), rsdp_paddr, 'the RSDP it was told of')
  t.notMatch(output, /ACPI (BIOS )?Error.*(checksum|table)|Invalid.*checksum/i)
  const { vcpus = 1 } = boot.config
  if (vcpus > 1) t.match(output, `smp: Brought up 1 node, ${vcpus} CPUs`)
}

for (const boot of boots) {
  t.test(boot.name, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const busybox = await requirePeer(t, () => findBusybox(boot.arch))
    if (busybox === undefined) return
    const file = await requirePeer(t, () => findKernel(boot.kernel))
    if (file === undefined) return
    const domain = buildDomain(await readKernel(readFileSync(file)), {
      memory: 512 * MiB,
      cmdline: LINUX_CMDLINE,
      ramdisk: ramdisk(busybox),
      purpose: 'vmm',
      ...boot.config,
      type: 'pvh',
    })
    const start = performance.now()
    const output = await runInQemu(domain)
    t.comment(`${((performance.now() - start) / 1000).toFixed(1)} s`)
    check(t, output, domain, boot)
    showConsole(t, output)
  })
}
