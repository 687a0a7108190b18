/**
 * The qemu format: a guest that QEMU starts as it was built. Its memory as an ELF, a boot ROM made of its vcpu's state
 * (in real mode an option ROM, since a BIOS is behind the guest), and the sidecar that the raw format has, with the command
 * line that puts them together.
 *
 * Source: qemu(1), docs/system/generic-loader.rst: an ELF's segments are loaded at their p_paddr; our own ROM.
 * Gotcha: the ROM leaves its trampoline in one page of the guest's memory: free memory, that no region has.
 */

import { E820_TYPE } from '../abi/boot-params.js'
import {
  Ehdr64,
  ELF_MAGIC,
  ELFCLASS64,
  ELFDATA2LSB,
  EM_X86_64,
  ET_EXEC,
  EV_CURRENT,
  PF_RWX,
  Phdr64,
  PN_XNUM,
  PT_LOAD,
} from '../abi/elf.js'
import { DomainBuilderError } from '../errors.js'
import { readBootParams } from '../guest/boot-params.js'
import type { Domain } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { GuestMemory } from '../guest/memory.js'
import { DEVICE_HOLE, LOW_HOLE } from '../guest/memory-map.js'
import { pagingLevels, translate } from '../guest/translate.js'
import { inRealMode } from '../guest/vcpu.js'
import { alignUp, FRAMES_MAX, PAGE_SIZE, type Paddr, type Pfn, paddrOf } from '../units.js'
import { openGuest, openRanges } from './guest-json.js'
import { JsonValue } from './json.js'
import { type LowPiece, optionRom } from './qemu-option-rom.js'
import { bootRom } from './qemu-rom.js'
import { type RawSidecar, rawSidecar } from './raw.js'
import { type ByteSource, requireBytes } from './source.js'

export const QEMU_FORMAT = 'xen-domain-builder/qemu'

/** A piece of the memory file. */
export interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** A snapshot in the making: three files. */
export interface QemuSnapshot {
  /** Bytes of the memory file, and its pieces in order; between them it is zero. */
  readonly size: number
  pieces(): Iterable<Piece>
  readonly rom: Uint8Array
  readonly sidecar: { readonly [field: string]: unknown }
}

/**
 * A guest for QEMU.
 * @param file name of the memory file; the ROM is `file`.rom beside it.
 * @throws DomainBuilderError `does-not-fit` for a guest that needs a hypervisor, or a state that no ROM can bring about.
 */
export function qemuSnapshot(domain: Domain, file: string): QemuSnapshot {
  const [vcpu] = domain.vcpus
  if (domain.type === 'pv' || vcpu === undefined) {
    throw new DomainBuilderError('does-not-fit', 'the guest needs Xen: QEMU alone cannot run it', {
      expected: 'pvh or linux',
      found: domain.type,
    })
  }
  const { boot } = domain
  if (boot.kind === 'hvm_start_info' && boot.hvmParams.length > 0) {
    throw new DomainBuilderError('does-not-fit', "the guest has Xen's special pages: QEMU has no memory there", {
      expected: 'a PVH guest of platform pc',
      found: 'one of platform xen',
    })
  }
  const runs = [...domain.memory.pages()]
  if (runs.length >= PN_XNUM) {
    throw new DomainBuilderError('does-not-fit', 'the memory is in more pieces than an ELF can have', {
      expected: `fewer than ${PN_XNUM}`,
      found: `${runs.length}`,
    })
  }
  const headers = alignUp(Ehdr64.size + runs.length * Phdr64.size, PAGE_SIZE)
  let size = headers
  const segments = runs.map(({ pfn, pages }) => {
    const segment = { offset: size, pfn, pages }
    size += pages * PAGE_SIZE
    return segment
  })
  const raw: RawSidecar = rawSidecar(domain, file)
  return {
    size,
    rom: inRealMode(vcpu) ? optionRom(vcpu, lowPieces(domain)) : bootRom(vcpu, trampolinePage(domain)),
    sidecar: {
      ...raw,
      format: QEMU_FORMAT,
      memory: {
        ...(raw.memory as object),
        ranges: domain.memory.ranges.map(({ start, end }) => [start, end]),
        data: segments.map(({ pfn, pages, offset }) => [pfn, pages, offset]),
      },
      qemu: { rom: `${file}.rom`, command: ['qemu-system-x86_64', ...qemuArguments(domain, file)] },
    },
    *pieces() {
      yield { offset: 0, bytes: elfHeaders(segments, vcpu.registers.rip) }
      let at = 0
      for (const { paddr, bytes } of domain.memory.chunks()) {
        // Chunks come in order, and never reach from one run of pages into another.
        let segment = segments[at]
        while (segment && paddr >= paddrOf(segment.pfn + segment.pages)) segment = segments[++at]
        if (segment) yield { offset: segment.offset + paddr - paddrOf(segment.pfn), bytes }
      }
    },
  }
}

function elfHeaders(segments: readonly { offset: number; pfn: Pfn; pages: number }[], entry: bigint): Uint8Array {
  const out = new Uint8Array(Ehdr64.size + segments.length * Phdr64.size)
  out.set(
    Ehdr64.encode({
      ...Ehdr64.decode(new Uint8Array(Ehdr64.size)),
      ei_magic: Uint8Array.from(ELF_MAGIC),
      ei_class: ELFCLASS64,
      ei_data: ELFDATA2LSB,
      ei_version: EV_CURRENT,
      e_type: ET_EXEC,
      e_machine: EM_X86_64,
      e_version: EV_CURRENT,
      e_entry: entry,
      e_phoff: BigInt(Ehdr64.size),
      e_ehsize: Ehdr64.size,
      e_phentsize: Phdr64.size,
      e_phnum: segments.length,
    }),
  )
  segments.forEach(({ offset, pfn, pages }, i) => {
    const bytes = BigInt(pages) * BigInt(PAGE_SIZE)
    const paddr = BigInt(paddrOf(pfn))
    out.set(
      Phdr64.encode({
        p_type: PT_LOAD,
        p_flags: PF_RWX,
        p_offset: BigInt(offset),
        p_vaddr: paddr,
        p_paddr: paddr,
        p_filesz: bytes,
        p_memsz: bytes,
        p_align: BigInt(PAGE_SIZE),
      }),
      Ehdr64.size + i * Phdr64.size,
    )
  })
  return out
}

/** What a BIOS would overwrite before the guest begins. */
function lowPieces({ memory }: Domain): LowPiece[] {
  return [...memory.pages()]
    .filter(({ pfn }) => paddrOf(pfn) < LOW_HOLE.end)
    .map(({ pfn, pages }) => ({ paddr: paddrOf(pfn), bytes: memory.read(paddrOf(pfn), pages * PAGE_SIZE) }))
}

/** A free page that is mapped to itself, the highest below 640 KiB or else the lowest above. */
function trampolinePage(domain: Domain): Paddr {
  const reserved = reservedRanges(domain)
  const paging = pagingLevels(domain) !== 0
  const usable = (pfn: Pfn): boolean => {
    const paddr = paddrOf(pfn)
    if (!domain.memory.has(pfn) || reserved.some(({ start, end }) => paddr < end && start < paddr + PAGE_SIZE))
      return false
    if (domain.regions.some((region) => pfn >= region.pfn && pfn < region.pfn + region.pages)) return false
    if (!paging) return true
    const found = translate(domain, BigInt(paddr))
    return found?.paddr === paddr && found.writable
  }
  for (let pfn = LOW_PAGES.end - 1; pfn >= LOW_PAGES.start; pfn--) if (usable(pfn)) return paddrOf(pfn)
  const others = domain.regions.map(({ pfn, pages }) => pfn + pages).filter((pfn) => paddrOf(pfn) < DEVICE_HOLE.start)
  const found = others.find(usable)
  if (found !== undefined) return paddrOf(found)
  throw new DomainBuilderError('does-not-fit', 'there is no page for the boot ROM to jump from', {
    expected: paging ? 'a free page that the tables map to itself' : 'a free page',
    found: 'none below 640 KiB or behind any region',
  })
}

/** Pages that a PC's firmware would use for this; the last of them an extended BIOS data area. */
const LOW_PAGES = { start: 1, end: 0x9f } as const

/** What the guest was told to leave alone. */
function reservedRanges(domain: Domain): { start: number; end: number }[] {
  return toldMap(domain)
    .filter(({ type }) => type !== E820_TYPE.RAM)
    .map(({ addr, size }) => ({ start: Number(addr), end: Number(addr + size) }))
}

function toldMap(domain: Domain): readonly { readonly addr: bigint; readonly size: bigint; readonly type: number }[] {
  const { boot } = domain
  if (boot.kind === 'hvm_start_info') return boot.hvmStartInfo === undefined ? [] : readHvmStartInfo(domain).memmap
  const { e820_table, e820_entries } = readBootParams(domain)
  return e820_table.slice(0, e820_entries)
}

/**
 * What follows `qemu-system-x86_64`: the smallest machine, no firmware, the guest's console on standard output; in real
 * mode a PC with its BIOS, whose screen goes there too. Made of
 * the guest each time: what a sidecar has is for people, and is not what `run` would start on a stranger's word.
 * @param file path of the memory file; the ROM is `file`.rom beside it.
 */
export function qemuArguments({ memory, vcpus }: Domain, file: string): string[] {
  const end = paddrOf(memory.endPfn)
  const bytes = end > DEVICE_HOLE.end ? end - (DEVICE_HOLE.end - DEVICE_HOLE.start) : end
  const [vcpu] = vcpus
  const realMode = vcpu !== undefined && inRealMode(vcpu)
  // The PC's hole for devices as ours; without graphics its BIOS writes to the serial port.
  const machine = realMode ? `pc,graphics=off,max-ram-below-4g=${DEVICE_HOLE.start}` : 'microvm'
  return [
    ...['-machine', machine, '-accel', 'tcg', '-nodefaults', '-no-user-config', '-no-reboot'],
    ...[
      '-m',
      `${bytes / 1024}K`,
      '-smp',
      `${vcpus.length}`,
      '-display',
      'none',
      '-monitor',
      'none',
      '-serial',
      'stdio',
    ],
    ...[realMode ? '-option-rom' : '-bios', `${file}.rom`, '-device', `loader,file=${file}`],
  ]
}

/**
 * A guest out of its sidecar and memory file.
 * @throws DomainBuilderError `bad-snapshot` or `truncated`.
 */
export function openQemu(sidecar: string, file: ByteSource): Domain {
  const json = JsonValue.parse(sidecar, 'sidecar')
  json.at('format').oneOf(QEMU_FORMAT)
  const memory = new GuestMemory(openRanges(json.at('memory')))
  for (const piece of json.at('memory').at('data').list(PN_XNUM)) {
    const [pfn, pages, offset] = piece.list(3)
    if (!pfn || !pages || !offset) return piece.refuse('pfn, pages and offset')
    const at = offset.integer(0, Number.MAX_SAFE_INTEGER)
    const paddr = paddrOf(pfn.integer(0, FRAMES_MAX))
    const bytes = pages.integer(1, FRAMES_MAX) * PAGE_SIZE
    if (!memory.covers(paddr, bytes)) piece.refuse('pages that the guest has')
    requireBytes(file.size, at, bytes)
    memory.generate(paddr, bytes, (done, out) => file.readInto(at + done, out))
  }
  return openGuest(json, memory)
}
