/**
 * The qemu format: a guest that QEMU starts as it was built. Its memory as an ELF, a boot ROM made of its vcpu's state
 * (in real mode an option ROM, since a BIOS is behind the guest), and the sidecar that the raw format has, with the command
 * line that puts them together.
 *
 * Source: qemu(1), docs/system/generic-loader.rst: an ELF's segments are loaded at their p_paddr; our own ROM.
 * Gotcha: the ROM leaves its trampoline in one page of the guest's memory: free memory, that no region has.
 */

import { Ehdr64, EM_X86_64, ET_EXEC, Phdr64, PN_XNUM } from '../abi/elf.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { DEVICE_HOLE, LOW_HOLE, pcMemoryUpTo } from '../guest/memory-map.js'
import { inRealMode } from '../guest/vcpu.js'
import { alignUp, FRAMES_MAX, PAGE_SIZE, type Paddr, type Pfn, paddrOf } from '../units.js'
import type { WorkOptions } from '../work.js'
import { freePage, requireBareGuest } from './bare-guest.js'
import { elfHeader, loadHeader } from './elf-file.js'
import { openGuest, openRanges } from './guest-json.js'
import { JsonValue } from './json.js'
import { concat } from './libxc-stream.js'
import { type LowPiece, optionRom } from './qemu-option-rom.js'
import { bootRom } from './qemu-rom.js'
import { type RawSidecar, rawSidecar } from './raw.js'
import { type ByteSource, requireBytes } from './source.js'

/** `format` of the qemu format's sidecar, by which it is told from the raw format's. */
export const QEMU_FORMAT = 'xen-domain-builder/qemu'

/** Bytes of a file, and where in it they begin. */
export interface Piece {
  /** In bytes, from the file's beginning. */
  readonly offset: number
  /** Valid until the next piece is asked for. */
  readonly bytes: Uint8Array
}

/** A snapshot in the making: the memory file, the boot ROM beside it, and the sidecar that says the rest. */
export interface QemuSnapshot {
  /** Bytes of the memory file. */
  readonly size: number
  /** The memory file's pieces, in order of offset, made as they are asked for; between them the file is zero. */
  pieces(options?: WorkOptions): Iterable<Piece>
  /** 65536 bytes, or an option ROM of whole 512 bytes for a guest that is entered in real mode. */
  readonly rom: Uint8Array
  /** To be written as JSON, to FILE.json; ARCHITECTURE.md, "The qemu format". */
  readonly sidecar: { readonly [field: string]: unknown }
}

/**
 * A guest for QEMU, as files to be written. Guests without a hypervisor alone: linux, and pvh of platform pc.
 * @param file name of the memory file; the ROM is FILE.rom beside it, the sidecar FILE.json.
 * @throws DomainBuilderError `does-not-fit` for a guest that needs a hypervisor, or a state that no ROM can bring about.
 */
export function qemuSnapshot(domain: Domain, file: string): QemuSnapshot {
  const vcpu = requireBareGuest(domain, 'QEMU')
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
    *pieces(options = {}) {
      yield { offset: 0, bytes: elfHeaders(segments, vcpu.registers.rip) }
      let at = 0
      for (const { paddr, bytes } of domain.memory.chunks(options)) {
        // Chunks come in order, and never reach from one run of pages into another.
        let segment = segments[at]
        while (segment && paddr >= paddrOf(segment.pfn + segment.pages)) segment = segments[++at]
        if (segment) yield { offset: segment.offset + paddr - paddrOf(segment.pfn), bytes }
      }
    },
  }
}

function elfHeaders(segments: readonly { offset: number; pfn: Pfn; pages: number }[], entry: bigint): Uint8Array {
  return concat(
    elfHeader(EM_X86_64, {
      e_type: ET_EXEC,
      e_entry: entry,
      e_phoff: BigInt(Ehdr64.size),
      e_phentsize: Phdr64.size,
      e_phnum: segments.length,
    }),
    ...segments.map(({ offset, pfn, pages }) =>
      loadHeader({ offset, filesz: pages * PAGE_SIZE, paddr: paddrOf(pfn), memsz: pages * PAGE_SIZE }),
    ),
  )
}

/** What a BIOS would overwrite before the guest begins. */
function lowPieces({ memory }: Domain): LowPiece[] {
  return [...memory.pages()]
    .filter(({ pfn }) => paddrOf(pfn) < LOW_HOLE.end)
    .map(({ pfn, pages }) => ({ paddr: paddrOf(pfn), bytes: memory.read(paddrOf(pfn), pages * PAGE_SIZE) }))
}

/** The highest free page below 640 KiB, or else the lowest above. */
function trampolinePage(domain: Domain): Paddr {
  const low = Array.from({ length: LOW_PAGES.end - LOW_PAGES.start }, (_, i) => LOW_PAGES.end - 1 - i)
  return freePage(domain, [...low, ...domain.regions.map(({ pfn, pages }) => pfn + pages)])
}

/** Pages that a PC's firmware would use for this; the last of them an extended BIOS data area. */
const LOW_PAGES = { start: 1, end: 0x9f } as const

/**
 * The words that follow `qemu-system-x86_64`: the smallest machine, no firmware, the guest's console on standard output; in
 * real mode a PC with its BIOS, whose screen goes there too. Made of the guest each time: what a sidecar has is for people,
 * and is not what `run` would start on a stranger's word.
 * @param file path of the memory file; the ROM is FILE.rom beside it.
 */
export function qemuArguments({ memory, vcpus }: Domain, file: string): string[] {
  const bytes = pcMemoryUpTo(paddrOf(memory.endPfn))
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
