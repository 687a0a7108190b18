/**
 * The qemu format: a guest that QEMU starts as it was built. It has three files: the memory as an ELF, a ROM made from
 * the vcpu's state, and the raw format's sidecar with the command line. The ROM is a boot ROM or, in real mode, an
 * option ROM, since a BIOS runs before the guest.
 *
 * Source: qemu(1), docs/system/generic-loader.rst: an ELF's segments are loaded at their p_paddr; our own ROM.
 * Gotcha: the ROM leaves its trampoline in one page of the guest's memory: a free page outside all regions.
 */

import { Ehdr64, EM_X86_64, ET_EXEC, Phdr64, PN_XNUM } from '../abi/elf.js'
import { DEVICE_HOLE, LOW_HOLE } from '../abi/pc.js'
import { concat } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { pcMemoryUpTo } from '../guest/memory-map.js'
import { inRealMode } from '../guest/vcpu.js'
import { alignUp, FRAMES_MAX, PAGE_SIZE, type Paddr, type Pfn, paddrOf } from '../units.js'
import { freePage, requireBareGuest } from './bare-guest.js'
import { elfHeader, loadHeader } from './elf-file.js'
import { placeFile } from './file-memory.js'
import type { SnapshotFormat, SnapshotSource, WriteOptions } from './format.js'
import { openGuest, openRanges } from './guest-json.js'
import type { JsonValue } from './json-value.js'
import { QEMU } from './qemu-machine.js'
import { type LowPiece, optionRom } from './qemu-option-rom.js'
import { bootRom } from './qemu-rom.js'
import { DEFAULT_NAME, type RawSidecar, rawSidecar } from './raw.js'
import { hasSidecar, readSidecar, SIDECAR_SUFFIX, sidecarBytes } from './sidecar.js'
import { type Part, SnapshotFile, solid } from './snapshot-file.js'

/** `format` of the qemu format's sidecar, which distinguishes it from the raw format's. */
const QEMU_FORMAT = 'xen-domain-builder/qemu'

/** The suffix of the boot ROM's name to the memory file's. */
const ROM_SUFFIX = '.rom'

/** A run of the guest's pages, and its place in the memory file. */
interface FileRun {
  readonly offset: number
  readonly pfn: Pfn
  readonly pages: number
}

/**
 * Returns a guest for QEMU: its memory as an ELF, the boot ROM, and the sidecar. It takes only guests without a
 * hypervisor: linux, and pvh of platform pc.
 * @throws DomainBuilderError `does-not-fit` for a guest that needs a hypervisor, or a state that no ROM can set up.
 */
function writeQemu(domain: Domain, options: WriteOptions = {}): readonly SnapshotFile[] {
  const { name = DEFAULT_NAME } = options
  const runs = fileRuns(domain)
  return [
    new SnapshotFile('', [memoryPart(domain, runs)], options),
    new SnapshotFile(ROM_SUFFIX, [solid(qemuRom(domain))]),
    new SnapshotFile(SIDECAR_SUFFIX, [solid(sidecarBytes(qemuSidecar(domain, runs, name)))]),
  ]
}

/**
 * Returns the ROM that QEMU enters a guest with: 65536 bytes, or an option ROM of whole 512 bytes for a guest in real
 * mode.
 * @throws DomainBuilderError `does-not-fit` for a guest that needs a hypervisor, or a state that no ROM can set up.
 */
export function qemuRom(domain: Domain): Uint8Array {
  const vcpu = requireBareGuest(domain, 'QEMU')
  return inRealMode(vcpu) ? optionRom(vcpu, lowPieces(domain)) : bootRom(vcpu, trampolinePage(domain))
}

function fileRuns(domain: Domain): readonly FileRun[] {
  const runs = [...domain.memory.pages()]
  if (runs.length >= PN_XNUM) {
    throw new DomainBuilderError('does-not-fit', 'the memory has too many pieces for an ELF', {
      expected: `fewer than ${PN_XNUM}`,
      found: `${runs.length}`,
    })
  }
  let offset = headerBytes(runs.length)
  return runs.map(({ pfn, pages }) => {
    const run = { offset, pfn, pages }
    offset += pages * PAGE_SIZE
    return run
  })
}

/** Returns the size of the ELF header and the program headers in bytes, rounded up to whole pages. */
const headerBytes = (runs: number): number => alignUp(Ehdr64.size + runs * Phdr64.size, PAGE_SIZE)

function memoryPart(domain: Domain, runs: readonly FileRun[]): Part {
  const { rip = 0n } = requireBareGuest(domain, 'QEMU').registers
  const headers = elfHeaders(runs, rip)
  const last = runs.at(-1)
  return {
    length: last === undefined ? headerBytes(0) : last.offset + last.pages * PAGE_SIZE,
    content: headers.length + domain.memory.placedBytes,
    *stretches() {
      yield { offset: 0, length: headers.length, content: headers }
      let at = 0
      for (const { paddr, length, content } of domain.memory.placed()) {
        // The pieces come in order, and never reach from one run of pages into another.
        let run = runs[at]
        while (run && paddr >= paddrOf(run.pfn + run.pages)) run = runs[++at]
        if (run) yield { offset: run.offset + paddr - paddrOf(run.pfn), length, content }
      }
    },
  }
}

function qemuSidecar(domain: Domain, runs: readonly FileRun[], name: string): RawSidecar {
  const raw = rawSidecar(domain, name)
  return {
    ...raw,
    format: QEMU_FORMAT,
    memory: {
      ...(raw.memory as object),
      ranges: domain.memory.ranges.map(({ start, end }) => [start, end]),
      data: runs.map(({ pfn, pages, offset }) => [pfn, pages, offset]),
    },
    qemu: { rom: `${name}${ROM_SUFFIX}`, command: [QEMU, ...qemuArguments(domain, name)] },
  }
}

function elfHeaders(runs: readonly FileRun[], entry: bigint): Uint8Array {
  return concat([
    elfHeader(EM_X86_64, {
      e_type: ET_EXEC,
      e_entry: entry,
      e_phoff: BigInt(Ehdr64.size),
      e_phentsize: Phdr64.size,
      e_phnum: runs.length,
    }),
    ...runs.map(({ offset, pfn, pages }) =>
      loadHeader({ offset, filesz: pages * PAGE_SIZE, paddr: paddrOf(pfn), memsz: pages * PAGE_SIZE }),
    ),
  ])
}

/** Returns the memory that a BIOS would overwrite before the guest begins. */
function lowPieces({ memory }: Domain): LowPiece[] {
  return [...memory.pages()]
    .map(({ pfn, pages }) => ({ paddr: paddrOf(pfn), end: Math.min(paddrOf(pfn + pages), LOW_HOLE.end) }))
    .filter(({ paddr, end }) => paddr < end)
    .map(({ paddr, end }) => ({ paddr, bytes: memory.read(paddr, end - paddr) }))
}

/** Returns the highest free page below 640 KiB, or else the lowest above. */
function trampolinePage(domain: Domain): Paddr {
  const low = Array.from({ length: LOW_PAGES.end - LOW_PAGES.start }, (_, i) => LOW_PAGES.end - 1 - i)
  return freePage(domain, [...low, ...domain.regions.map(({ pfn, pages }) => pfn + pages)])
}

/** Pages that a PC's firmware would use for this; the one after them is an extended BIOS data area. */
const LOW_PAGES = { start: 1, end: 0x9f } as const

/**
 * Returns the arguments after `qemu-system-x86_64`: the smallest machine, no firmware, the guest's console on standard
 * output. In real mode it is a PC with its BIOS, whose screen goes there too. They are made from the guest each time.
 * The command in a sidecar is for people: `run` must not start one from an untrusted file.
 * @param file path of the memory file; the ROM is FILE.rom next to it.
 */
export function qemuArguments({ memory, vcpus }: Domain, file: string): string[] {
  const bytes = pcMemoryUpTo(paddrOf(memory.endPfn))
  const [vcpu] = vcpus
  const realMode = vcpu !== undefined && inRealMode(vcpu)
  // QEMU takes the text after a single comma for another property; -bios alone takes a name unchanged.
  const value = file.replaceAll(',', ',,')
  // The PC's device hole is the same as ours; without graphics its BIOS writes to the serial port.
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
    ...(realMode ? ['-option-rom', `${value}${ROM_SUFFIX}`] : ['-bios', `${file}${ROM_SUFFIX}`]),
    ...['-device', `loader,file=${value}`],
  ]
}

/**
 * Returns the guest in a sidecar and memory file.
 * @throws DomainBuilderError `bad-snapshot` or `truncated`.
 */
function openQemu(files: SnapshotSource): Domain {
  const json = readSidecar(files, QEMU_FORMAT)
  const runs = json.at('memory').at('data').list(PN_XNUM)
  const pieces = runs.map((run) => {
    const [pfn, pages, offset] = run.list(3)
    if (!pfn || !pages || !offset) return run.refuse('pfn, pages and offset')
    return {
      paddr: paddrOf(pfn.integer(0, FRAMES_MAX)),
      offset: offset.integer(0, Number.MAX_SAFE_INTEGER),
      length: pages.integer(1, FRAMES_MAX) * PAGE_SIZE,
    }
  })
  const memory = new GuestMemory(openRanges(json.at('memory')))
  placeFile(memory, files.main, pieces, (i, expected) => (runs[i] as JsonValue).refuse(expected))
  return openGuest(json, memory)
}

/** The format that `xdb run` starts in QEMU. */
export const qemuFormat: SnapshotFormat = {
  name: 'qemu',
  summary: 'an ELF of the memory, a boot ROM and a JSON sidecar, for QEMU',
  extensions: [],
  files: ['', ROM_SUFFIX, SIDECAR_SUFFIX],
  purpose: 'vmm',
  sniff: (files) => hasSidecar(files, QEMU_FORMAT),
  open: openQemu,
  write: writeQemu,
}
