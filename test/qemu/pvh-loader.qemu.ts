/**
 * Compares the start info of QEMU's PVH loader with ours, field by field.
 *
 * Source: QEMU pc-bios/optionrom/pvh_main.c and hw/i386/x86.c, by their results in memory.
 * Gotcha: QEMU's map is SeaBIOS's, which has removed its own memory from it, so the maps cannot be equal.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { GuestMemory } from '../../lib/guest/memory.js'
import { buildDomain, type Domain, readHvmStartInfo, readKernel } from '../../lib/index.js'
import { patternBytes } from '../../lib/testing/index.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { stoppedAt } from './gdb.js'
import { findQemu, withDirectory } from './harness.js'

const MEMORY = 512 * 2 ** 20
const CMDLINE = 'console=ttyS0 quiet'
/** RAM of our guest that QEMU's map does not have, and the reason. */
const TAKEN_BY_FIRMWARE = [
  { start: 0x9fc00, end: 0xa0000, why: "SeaBIOS's extended BIOS data area" },
  { start: 0x1ffdf000, end: 0x20000000, why: "SeaBIOS's tables, at the end of low memory" },
] as const

/** The ranges that QEMU's map reserves: our guest has no firmware, and its map ends far below. */
const FIRMWARES = [
  ...TAKEN_BY_FIRMWARE,
  { start: 0xf0000, end: 0x100000, why: "SeaBIOS's own code" },
  { start: 0xfffc0000, end: 2 ** 32, why: 'the firmware as the processor starts it' },
  { start: 0xfd00000000, end: 2 ** 40, why: "what AMD's processors keep for HyperTransport" },
] as const
/** Fields that differ, and the reason; all others are equal, including reserved ones. */
const OTHER_FIELDS: Readonly<Record<string, string>> = {
  modlist_paddr: 'each loader has its own place for lists',
  cmdline_paddr: 'each loader has its own place for texts',
  memmap_paddr: 'each loader has its own place for lists',
  memmap_entries: 'firmware splits the map',
  rsdp_paddr: "QEMU's lies in the BIOS area",
}

t.test("hvm_start_info as QEMU's loader has it", async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const file = await requirePeer(t, () => findKernel('debian-amd64'))
  if (file === undefined) return
  const kernel = await readKernel(readFileSync(file))
  const ramdisk = patternBytes(100_001, 3)
  const ours = buildDomain(kernel, { type: 'pvh', platform: 'pc', memory: MEMORY, cmdline: CMDLINE, ramdisk })
  const entry = Number(ours.vcpus[0]?.registers.rip)
  const { elf } = kernel
  if (!elf) return void t.fail('no ELF')

  await withDirectory(async (directory) => {
    writeFileSync(join(directory, 'vmlinux'), elf.bytes.subarray(0, elf.end))
    writeFileSync(join(directory, 'ramdisk'), ramdisk)
    const args = [
      ...['-machine', 'pc', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-m', `${MEMORY / 2 ** 20}`],
      ...['-kernel', join(directory, 'vmlinux'), '-initrd', join(directory, 'ramdisk'), '-append', CMDLINE],
    ]
    await stoppedAt(args, entry, async (stopped) => {
      t.equal(stopped.registers[16], BigInt(entry), 'at PHYS32_ENTRY')
      const memory = new GuestMemory(MEMORY / 4096)
      memory.place(0, await stopped.read(0, 2 ** 20))
      const qemu: Domain = {
        ...ours,
        memory,
        boot: { kind: 'hvm_start_info', hvmStartInfo: Number(stopped.registers[1]), hvmParams: [] },
      }
      const [a, b] = [readHvmStartInfo(qemu), readHvmStartInfo(ours)]
      for (const [field, theirs] of Object.entries(a.fields))
        if (!(field in OTHER_FIELDS)) t.equal(b.fields[field as keyof typeof b.fields], theirs, field)
      t.equal(b.cmdline, a.cmdline, 'command line')
      t.same(
        b.modules.map(({ size, cmdline }) => ({ size, cmdline })),
        a.modules.map(({ size, cmdline }) => ({ size, cmdline })),
        'the module, at any place',
      )
      t.same(await stopped.read(Number(a.modules[0]?.paddr), ramdisk.length), ramdisk)
      t.ok(a.fields.rsdp_paddr >= 0xe0000n && a.fields.rsdp_paddr < 0x100000n, "QEMU's RSDP lies in the BIOS area")
      t.not(b.fields.rsdp_paddr, 0n, 'ours with its tables')
      const ram = ({ memmap }: typeof a) =>
        memmap
          .filter(({ type }) => type === 1)
          .map(({ addr, size }) => ({ start: Number(addr), end: Number(addr + size) }))
      const acpi = b.memmap.find(({ type }) => type === 3)
      const known = [
        ...TAKEN_BY_FIRMWARE,
        // Only in ours, whose tables are in RAM.
        { start: Number(acpi?.addr), end: Number((acpi?.addr ?? 0n) + (acpi?.size ?? 0n)) },
      ]
      const edges = [...ram(a), ...ram(b), ...known].flatMap(({ start, end }) => [start, end]).sort((x, y) => x - y)
      const inside = (ranges: readonly { start: number; end: number }[], at: number) =>
        ranges.some(({ start, end }) => at >= start && at < end)
      const unexplained = edges.filter((at) => inside(ram(a), at) !== inside(ram(b), at) && !inside(known, at))
      t.same(unexplained, [], 'the same RAM except for the named differences')
      const firmwares = a.memmap
        .filter(({ type }) => type !== 1)
        .map(({ addr, size }) => [Number(addr), Number(addr + size)])
      t.same(
        firmwares.filter(([start = 0, end = 0]) => !FIRMWARES.some((own) => start >= own.start && end <= own.end)),
        [],
        'and nothing but firmware is reserved there',
      )
    })
  })
})
