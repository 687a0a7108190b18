/**
 * A dom0 as Xen builds it, PV and PVH, compared with ours: Xen starts a kernel that reports its registers, start_info,
 * page tables and memory.
 *
 * Source: ../fixtures/dom0-kernel.ts and pvh-dom0-kernel.ts; xen/arch/x86/{pv,hvm}/dom0_build.c of Xen 4.17 for the
 * differences.
 * Gotcha: without sync_console, Xen drops dom0's lines when its buffer is full.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { E820_TYPE } from '../../lib/abi/boot-params.js'
import { HvmStartInfo } from '../../lib/abi/hvm-start-info.js'
import { StartInfo64 } from '../../lib/abi/start-info.js'
import { HYPERVISOR_L4_SLOTS } from '../../lib/abi/xen-x86-64.js'
import { buildDomain, PAGE_SIZE, readKernel } from '../../lib/index.js'
import { patternBytes } from '../../lib/testing/index.js'
import { dom0Kernel, parseDom0Report } from '../fixtures/dom0-kernel.js'
import { hashOf, parsePvhDom0Report, pvhDom0Kernel } from '../fixtures/pvh-dom0-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { runQemu, withDirectory } from '../qemu/harness.js'
import { ensureBuilt, findXen, xenBuild } from './harness.js'

const MiB = 2 ** 20
const MEMORY_MIB = 64
const CMDLINE = 'console=hvc0 the rest'
/** The screen that QEMU's BIOS leaves, as Xen finds it without asking the BIOS (no-real-mode). */
const SCREEN = { font_height: 16, cursor_x: 0, cursor_y: 0, rows: 25, columns: 80 }

/** Fields of start_info that the machine decides, and Xen's reason. */
const OF_THE_MACHINE: Readonly<Record<string, string>> = {
  shared_info: 'si->shared_info = virt_to_maddr(d->shared_info): a machine address',
}
/** si->flags |= (xen_processor_pmbits << 8) & SIF_PM_MASK: the caller of the builder knows these bits. */
const PM_BITS = 0x300

const cases = {
  'no ramdisk': {},
  'a kernel with a PAE_MODE': { notes: { PAE_MODE: 'yes' } },
  'a mapped ramdisk': { ramdisk: patternBytes(5 * MiB + 1) },
  'a ramdisk by pfn': { ramdisk: patternBytes(MiB + 5), notes: { MOD_START_PFN: 1 } },
  'a p2m at INIT_P2M': { ramdisk: patternBytes(MiB), notes: { MOD_START_PFN: 1, INIT_P2M: 0x8000000000n } },
  'two L2 tables': {
    notes: { VIRT_BASE: 0xffff88003fc00000n },
    base: 0xffff88003fc00000n,
    ramdisk: patternBytes(4 * MiB),
  },
} as const

interface Case {
  readonly notes?: Parameters<typeof dom0Kernel>[0]
  readonly base?: bigint
  readonly ramdisk?: Uint8Array
}

/** Runs Xen with the kernel as dom0. Returns its serial console, and the text of the ramdisk's module. */
function bootXen(
  kernel: Uint8Array,
  ramdisk: Uint8Array | undefined,
  machine: { readonly qemu?: readonly string[]; readonly xen?: string } = {},
): Promise<{ readonly serial: string; readonly text: string }> {
  return withDirectory(async (directory) => {
    const [file, initrd] = [join(directory, 'dom0'), join(directory, 'ramdisk')]
    writeFileSync(file, kernel)
    if (ramdisk !== undefined) writeFileSync(initrd, ramdisk)
    const text = `${initrd} its text`
    const serial = await runQemu([
      ...['-machine', 'q35', '-cpu', 'max,-smap,-rdtscp', '-accel', 'tcg', '-m', '512', '-nic', 'none', '-no-reboot'],
      ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-kernel', join(xenBuild, 'xen.elf')],
      ...['-initrd', `${file} ${CMDLINE}${ramdisk === undefined ? '' : `,${text}`}`, ...(machine.qemu ?? [])],
      '-append',
      `dom0_mem=${MEMORY_MIB}M,max:${MEMORY_MIB}M console=com1 com1=115200 no-real-mode sync_console ${machine.xen ?? ''}`,
    ])
    return { serial, text }
  })
}

for (const [name, { notes, base, ramdisk }] of Object.entries<Case>(cases)) {
  t.test(`dom0 with ${name}`, async (t) => {
    if ((await requirePeer(t, findXen)) === undefined) return
    ensureBuilt('debian')
    const kernel = dom0Kernel(notes, base)
    const report = parseDom0Report((await bootXen(kernel, ramdisk)).serial)
    const domain = buildDomain(await readKernel(kernel), {
      type: 'pv',
      memory: MEMORY_MIB * MiB,
      cmdline: CMDLINE,
      purpose: 'create',
      flags: PM_BITS,
      dom0: { console: { text_mode_3: SCREEN } },
      ...(ramdisk === undefined ? {} : { ramdisk }),
    })

    const [vcpu] = domain.vcpus
    const { rip, rflags, ...general } = vcpu?.registers ?? {}
    for (const [name, value] of Object.entries(general)) t.equal(report.registers[name], value, name)
    t.equal((report.registers.rflags ?? 0n) & ~2n, rflags, 'rflags, except the bit that is always set')
    for (const [name, { selector }] of Object.entries(vcpu?.segments ?? {})) {
      t.equal(report.registers[name], BigInt(selector), name)
    }

    const page = (pfn: number) => domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
    if (domain.boot.kind !== 'start_info') throw new Error('not a PV guest')
    const { startInfo, pageTables } = domain.boot
    const ours = page(startInfo.pfn).subarray(0, report.startInfo.length)
    const found = StartInfo64.decode(report.startInfo)
    t.same(found, { ...StartInfo64.decode(ours), shared_info: found.shared_info }, Object.values(OF_THE_MACHINE).join())
    t.same(
      hexOf(report.startInfo.subarray(StartInfo64.size)),
      hexOf(ours.subarray(StartInfo64.size)),
      'the screen after it',
    )

    t.same(report.frames, { pages: BigInt((MEMORY_MIB * MiB) / PAGE_SIZE), misplaced: 0n }, 'its p2m')
    const entries = Array.from({ length: pageTables.pages }, (_, table) => {
      const bytes = Buffer.from(page(pageTables.top + table))
      return Array.from({ length: 512 }, (_, slot) => ({ table, slot, value: bytes.readBigUInt64LE(slot * 8) }))
    }).flat()
    t.same(
      report.entries.filter(({ table, slot }) => table > 0 || !isXens(slot)).map(showEntry),
      entries
        .filter(({ value }) => value !== 0n)
        .map((entry) => showEntry({ ...entry, pfn: (entry.value & FRAME) >> 12n })),
      'its page tables, except the slots of Xen (init_xen_l4_slots)',
    )
  })
}

/** PVH needs an IOMMU, and QEMU's processors are AMD's. */
const PVH_MACHINE = { qemu: ['-device', 'amd-iommu'], xen: 'dom0=pvh' }
/** The pages that the PVH kernel reports: all that Xen places something in. */
const REPORTED = { start: 0x100, end: 0x4000 }

const pvhCases = {
  'no ramdisk': { class: 64, paddr: 0x100000 },
  'a ramdisk after the kernel': { class: 64, paddr: 0x200000, ramdisk: patternBytes(5 * MiB + 1) },
  'a ramdisk before a 32-bit kernel': { class: 32, paddr: 0x3000000, ramdisk: patternBytes(MiB - 3) },
} as const

interface PvhCase {
  readonly class: 32 | 64
  readonly paddr: number
  readonly ramdisk?: Uint8Array
}

for (const [name, { ramdisk, ...place }] of Object.entries<PvhCase>(pvhCases)) {
  t.test(`PVH dom0 with ${name}`, async (t) => {
    if ((await requirePeer(t, findXen)) === undefined) return
    ensureBuilt('debian')
    const { file, codePages } = pvhDom0Kernel({ ...place, pages: REPORTED })
    const { serial, text } = await bootXen(file, ramdisk, PVH_MACHINE)
    const report = parsePvhDom0Report(serial)
    const domain = buildDomain(await readKernel(file), {
      type: 'pvh',
      memory: MEMORY_MIB * MiB,
      cmdline: CMDLINE,
      dom0: { hostRam: usableRanges(serial) },
      ...(ramdisk === undefined ? {} : { ramdisk: [{ bytes: ramdisk, cmdline: text }] }),
    })

    const [vcpu] = domain.vcpus
    if (vcpu === undefined || domain.boot.hvmStartInfo === undefined) throw new Error('not a PVH guest')
    const { rip: _, rflags, ...general } = vcpu.registers
    const { cr0, cr3, cr4, efer, dr6, dr7 } = vcpu
    for (const [name, value] of Object.entries({ ...general, rflags, cr0, cr3, cr4, efer, dr6, dr7 })) {
      const as32 = name.replace(/^r/, 'e')
      if (as32 in report.registers || name in report.registers) {
        t.equal(BigInt(report.registers[name] ?? report.registers[as32] ?? 0), value, name)
      }
    }
    for (const [name, segment] of Object.entries({ ...vcpu.segments, tr: vcpu.tr })) {
      t.equal(report.registers[name], segment?.selector, name)
    }

    const { hvmStartInfo } = domain.boot
    const rsdp = HvmStartInfo.decode(report.startInfo).rsdp_paddr
    t.same(
      HvmStartInfo.decode(report.startInfo),
      { ...HvmStartInfo.decode(domain.memory.read(hvmStartInfo, HvmStartInfo.size)), rsdp_paddr: rsdp },
      'hvm_start_info, except rsdp_paddr (pvh_setup_acpi)',
    )
    t.equal(Buffer.from(report.rsdp).toString('latin1', 0, 8), 'RSD PTR ', "Xen's RSDP")
    const page = domain.memory.read(hvmStartInfo - (hvmStartInfo % PAGE_SIZE), report.page.length)
    new DataView(page.buffer).setBigUint64((hvmStartInfo % PAGE_SIZE) + HvmStartInfo.offsetOf('rsdp_paddr'), rsdp, true)
    t.equal(hexOf(report.page), hexOf(page), 'the command line and the list with the ramdisk')

    // The kernel's own data pages have changed, and the page of hvm_start_info was compared above.
    const firstData = place.paddr / PAGE_SIZE + codePages
    const pfns = domain.regions.flatMap(({ name, pfn, pages }) =>
      name === 'start_info'
        ? []
        : Array.from({ length: name === 'kernel' ? firstData - pfn : pages }, (_, i) => pfn + i),
    )
    t.same(
      pfns.map((pfn) => [pfn, report.hashes.get(pfn) ?? 0]),
      pfns.map((pfn) => [pfn, hashOf(domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE))]),
      'the kernel and the ramdisk',
    )

    t.equal(report.map.result, 0n)
    const ours = domain.memory.ranges.map(({ start, end }) => [start * PAGE_SIZE, end * PAGE_SIZE])
    const last = ours.at(-1) ?? [0, 0]
    const tables = Number(rsdp)
    t.equal(Math.floor(tables / PAGE_SIZE), (last[1] ?? 0) / PAGE_SIZE - 1, 'its last page of RAM holds the RSDP')
    const typed = (wanted: number) =>
      report.map.entries
        .filter(({ type }) => type === wanted)
        .map(({ start, bytes }) => [Number(start), Number(start + bytes)])
    t.same(
      typed(E820_TYPE.RAM),
      [...ours.slice(0, -1), [last[0], tables]],
      'its RAM, which ends at the RSDP (pvh_steal_ram)',
    )
    t.equal(typed(E820_TYPE.ACPI)[0]?.[0], tables, 'ACPI tables follow')
  })
}

/** Returns the usable ranges of the host's e820, as Xen shows it when it starts. */
const usableRanges = (serial: string) =>
  [...serial.matchAll(/^\(XEN\) {2}\[([0-9a-f]{16}), ([0-9a-f]{16})\] \(usable\)/gm)].map(([, start, last]) => ({
    start: Number(`0x${start}`),
    end: Number(`0x${last}`) + 1,
  }))

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
/** The processor sets it where Xen wrote through dom0's tables: the kernel, start_info and the p2m. */
const DIRTY = 0x40n
const FRAME = 0x000ffffffffff000n
const isXens = (slot: number): boolean => slot >= HYPERVISOR_L4_SLOTS.start && slot < HYPERVISOR_L4_SLOTS.end
const showEntry = ({ table, slot, value, pfn }: { table: number; slot: number; value: bigint; pfn: bigint }): string =>
  `table ${table}, slot ${slot}: pfn ${pfn.toString(16)}, flags ${(value & ~FRAME & ~DIRTY).toString(16)}`
