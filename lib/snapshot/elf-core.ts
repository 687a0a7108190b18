/**
 * The elf-core format: an ELF core for gdb and crash, with its memory by physical address and by virtual address.
 *
 * Source: the System V ABI, chapter 5; elf_prstatus as debuggers know it (../abi/core-files.ts); Linux
 * Documentation/admin-guide/kdump/vmcoreinfo.rst.
 * Gotcha: a page that is mapped twice has two program headers and one place in the file. An unmapped page has p_vaddr
 * 0, and comes last, so that a debugger looks into the real page 0 first.
 */
import {
  AT_NULL,
  AT_SYSINFO_EHDR,
  Auxv64,
  CORE_NOTE_OWNER,
  FOREIGN_CORES,
  GUEST_NOTE_OWNER,
  NT_AUXV,
  NT_GUEST_JSON,
  NT_PRSTATUS,
  PR_REG32,
  PR_REG64,
  Prstatus32,
  Prstatus64,
  SYMBOLS_VADDR,
  VMCOREINFO_OWNER,
} from '../abi/core-files.js'
import { Ehdr64, EM_386, EM_X86_64, Nhdr, Phdr64, PN_XNUM, PT_LOAD } from '../abi/elf.js'
import { XEN_NOTE_OWNER } from '../abi/elfnote.js'
import { concat, decodeUtf8, encodeUtf8, equal } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { BLOCK_BYTES, GuestMemory } from '../guest/memory.js'
import { addRange, type Run, runEndingAfter, runOf } from '../guest/runs.js'
import type { Vcpu } from '../guest/vcpu.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { alignUp, hex, PADDR_MAX, PAGE_SIZE, type Pfn, paddrOf, pfnOf, type Range } from '../units.js'
import { atOnce, type Slices } from '../work.js'
import type { ByteSource } from './byte-source.js'
import { coreGuest, guestNote } from './core-guest.js'
import { coreRuns } from './core-runs.js'
import { symbolsPart } from './core-symbols.js'
import { crashedGuest } from './crashed-guest.js'
import { dataRuns, pageContents } from './data-pages.js'
import {
  type CoreNote,
  elfHeader,
  encodeNote,
  type FileSegment,
  isCore,
  isCore32,
  loadHeader,
  noteHeader,
  readSegments,
  refuseElf,
} from './elf-file.js'
import { type FilePages, placeFile } from './file-memory.js'
import { A_CORE_OF_XEN, refuseGuest } from './foreign.js'
import { type SnapshotFormat, startOf, type WriteOptions } from './format.js'
import { keptQemuNotes, qemuGuest, qemuNotes } from './qemu-core.js'
import { SnapshotFile, solid, zeros } from './snapshot-file.js'
import { isXenCore } from './xen-core.js'

/** The most runs of pages, and of mappings; a running guest's memory is in more pieces than that. */
const MAX_RUNS = 1 << 14
const MAX_MAPPED = 1 << 16
/** The most program headers with a virtual address. */
const MAX_SEGMENTS = 1 << 17

interface Segment {
  readonly vaddr: bigint
  readonly pfn: number
  /** Pages with bytes in the file, and pages of zeros after them. */
  readonly pages: number
  readonly zeroPages: number
  /** Bytes from the start of the contents. */
  readonly at: number
}

/** The options of the elf-core format. */
export interface ElfCoreOptions extends WriteOptions {
  /** The names of the guest's addresses, which become the symbol table of the file. */
  readonly symbols?: SymbolTable
}

/**
 * Returns a guest as an ELF core.
 *
 * @example
 * ```ts
 * import { writeFile } from 'node:fs/promises'
 * import { findSymbols, writeElfCore } from 'xen-domain-builder'
 *
 * const symbols = await findSymbols(guest)
 * await writeFile('guest.core', writeElfCore(guest, symbols && { symbols }))
 * ```
 */
export function writeElfCore(domain: Domain, options: ElfCoreOptions = {}): SnapshotFile {
  return atOnce(elfCoreSlices(domain, options))
}

/** Makes the same in slices: a guest that was saved is searched for its vmcoreinfo. */
function* elfCoreSlices(domain: Domain, options: ElfCoreOptions = {}): Slices<SnapshotFile> {
  const runs = closed(dataRuns(domain))
  const segments = plan(domain, runs)
  const is64 = domain.abi === 'x86_64'
  const machine = is64 ? EM_X86_64 : EM_386
  const { symbols } = options
  // A 32-bit guest has no address to spare for the image.
  const hasImage = symbols !== undefined && is64
  const found = yield* coreNotes(domain, runs)
  const notes = concat([...found, ...(hasImage ? [auxv()] : [])].map(encodeNote))
  const phnum = 1 + segments.length + (hasImage ? 1 : 0)
  const notesAt = Ehdr64.size + phnum * Phdr64.size
  const contentsAt = alignUp(notesAt + notes.length, PAGE_SIZE)
  const contents = pageContents(domain, runs)
  const named = symbolsPart(contentsAt + contents.length, machine, phnum, symbols)
  const header = elfHeader(machine, {
    e_phoff: BigInt(Ehdr64.size),
    e_phentsize: Phdr64.size,
    e_phnum: Math.min(phnum, PN_XNUM),
    ...named?.header,
  })
  const loads = segments.map(({ vaddr, pfn, pages, zeroPages, at }) => {
    const filesz = pages * PAGE_SIZE
    const memsz = filesz + zeroPages * PAGE_SIZE
    return loadHeader({ offset: contentsAt + at, filesz, paddr: paddrOf(pfn), memsz }, vaddr)
  })
  if (named && hasImage) {
    const image = { offset: contentsAt + contents.length, filesz: named.imageBytes, memsz: named.imageBytes }
    loads.push(loadHeader({ ...image, paddr: PADDR_MAX }, SYMBOLS_VADDR))
  }
  return new SnapshotFile(
    '',
    [
      solid(concat([header, noteHeader(notesAt, notes.length), ...loads, notes])),
      zeros(contentsAt - notesAt - notes.length),
      contents,
      ...(named ? [solid(named.bytes)] : []),
    ],
    options,
  )
}

/** Returns the notes of a core: those that debuggers read, and our own. @param runs the pages with content. */
export function* coreNotes(domain: Domain, runs: readonly Run[]): Slices<CoreNote[]> {
  const running = domain.vcpus.filter(({ online }) => online)
  const info = yield* vmcoreinfo(domain, runs)
  return [
    ...running.map((vcpu) => prstatus(vcpu, domain.abi === 'x86_64')),
    ...keptQemuNotes(domain),
    ...info,
    guestNote(domain),
  ]
}

/** Returns the runs with the smallest gaps closed, until there are few enough. */
function closed(runs: readonly Run[]): Run[] {
  let ranges: Range<Pfn>[] = runs.map(({ pfn, pages }) => ({ start: pfn, end: pfn + pages }))
  for (let gap = 1; ranges.length > MAX_RUNS; gap *= 2) {
    const joined: Range<Pfn>[] = []
    for (const { start, end } of ranges) addRange(joined, start, end, gap)
    ranges = joined
  }
  return ranges.map(runOf)
}

/** Returns the part of every mapping in every run, then the unmapped parts of the runs. */
function plan(domain: Domain, runs: readonly Run[]): Segment[] {
  const starts: number[] = []
  let bytes = 0
  for (const run of runs) {
    starts.push(bytes)
    bytes += run.pages * PAGE_SIZE
  }
  const segments: Segment[] = []
  const isFull = (): boolean => segments.length >= MAX_SEGMENTS
  /** Adds frames: those with content, and where they are mapped the others, which are zero. */
  const parts = (vaddr: bigint | undefined, pfn: number, pages: number): void => {
    const end = pfn + pages
    const add = (from: number, to: number, zeroPages: number, at: number): void => {
      const address = vaddr === undefined ? 0n : vaddr + BigInt((from - pfn) * PAGE_SIZE)
      segments.push({ vaddr: address, pfn: from, pages: to - from, zeroPages, at })
    }
    let done = pfn
    for (let i = runEndingAfter(runs, pfn); i < runs.length && done < end && !isFull(); i++) {
      const run = runs[i] as Run
      if (run.pfn >= end) break
      const from = Math.max(run.pfn, pfn)
      const to = Math.min(run.pfn + run.pages, end)
      if (vaddr !== undefined && from > done) add(done, done, from - done, bytes)
      done = Math.min(end, runs[i + 1]?.pfn ?? end)
      add(from, to, vaddr === undefined ? 0 : done - to, (starts[i] as number) + (from - run.pfn) * PAGE_SIZE)
    }
    if (vaddr !== undefined && done < end) add(done, done, end - done, bytes)
  }
  for (const { vaddr, pfn, pages } of coreRuns(domain, MAX_MAPPED)) {
    if (!isFull()) parts(vaddr, pfn, pages)
  }
  let covered = 0
  const mapped = segments.filter(({ pages }) => pages > 0).sort((a, b) => a.pfn - b.pfn)
  const unmapped: Run[] = []
  for (const { pfn, pages } of mapped) {
    if (pfn > covered) unmapped.push({ pfn: covered, pages: pfn - covered })
    covered = Math.max(covered, pfn + pages)
  }
  unmapped.push({ pfn: covered, pages: Math.max(0, domain.memory.endPfn - covered) })
  for (const { pfn, pages } of unmapped) parts(undefined, pfn, pages)
  if (isFull()) {
    // Too many pieces for virtual addresses: only the physical ones remain, which are few enough.
    return runs.map(({ pfn, pages }, i) => ({ vaddr: 0n, pfn, pages, zeroPages: 0, at: starts[i] ?? 0 }))
  }
  return segments
}

function prstatus(vcpu: Vcpu, is64: boolean): CoreNote {
  const { registers, segments: s } = vcpu
  const values: Readonly<Record<string, bigint>> = {
    ...registers,
    ...Object.fromEntries(Object.entries(s).map(([name, { selector }]) => [name, BigInt(selector)])),
    fs_base: s.fs.descriptor?.base ?? 0n,
    gs_base: s.gs.descriptor?.base ?? 0n,
    // No system call is in progress.
    orig_rax: BigInt.asUintN(64, -1n),
  }
  const common = { pr_cursig: 0, pr_pid: vcpu.id + 1, pr_fpvalid: 0 }
  const desc = is64
    ? Prstatus64.encode({ ...common, pr_reg: PR_REG64.map((name) => values[name] as bigint) })
    : Prstatus32.encode({
        ...common,
        pr_reg: PR_REG32.map((name) => Number(BigInt.asUintN(32, values[name] as bigint))),
      })
  return { owner: CORE_NOTE_OWNER, type: NT_PRSTATUS, desc }
}

/** Returns the auxiliary vector, which names the image of symbols as gdb expects it. */
function auxv(): CoreNote {
  const entries = [
    { a_type: AT_SYSINFO_EHDR, a_val: SYMBOLS_VADDR },
    { a_type: AT_NULL, a_val: 0n },
  ]
  return { owner: CORE_NOTE_OWNER, type: NT_AUXV, desc: concat(entries.map((entry) => Auxv64.encode(entry))) }
}

/** Returns the kernel's own vmcoreinfo: a note at the start of a page. A kernel that never ran has no such note yet. */
function* vmcoreinfo(domain: Domain, runs: readonly Run[]): Slices<CoreNote[]> {
  if (!domain.saved) return []
  const owner = encodeUtf8(`${VMCOREINFO_OWNER}\0`)
  const descAt = Nhdr.size + alignUp(owner.length, 4)
  const block = new Uint8Array(BLOCK_BYTES)
  for (const { pfn, pages } of runs) {
    for (let done = 0; done < pages; done += BLOCK_BYTES / PAGE_SIZE) {
      const bytes = block.subarray(0, (pages - done) * PAGE_SIZE)
      domain.memory.readInto(paddrOf(pfn + done), bytes)
      for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
        const page = bytes.subarray(at, at + PAGE_SIZE)
        if (!equal(page.subarray(Nhdr.size, Nhdr.size + owner.length), owner)) continue
        const { n_namesz, n_descsz } = Nhdr.decode(page)
        if (n_namesz !== owner.length || n_descsz === 0 || descAt + n_descsz > PAGE_SIZE) continue
        return [{ owner: VMCOREINFO_OWNER, type: 0, desc: page.slice(descAt, descAt + n_descsz) }]
      }
      yield
    }
  }
  return []
}

/**
 * Returns the guest in an ELF core that we wrote, or QEMU, or a Linux that crashed.
 * @throws DomainBuilderError `bad-snapshot` or `truncated` with an offset; `unknown-format` for a core of another
 *   program.
 */
function openElfCore(source: ByteSource): Domain {
  const { machine, segments, notes } = readSegments(source)
  const ours = notes.find(({ owner, type }) => owner === GUEST_NOTE_OWNER && type === NT_GUEST_JSON)
  const loads = segments
    .filter(({ p_type, p_paddr, length }) => p_type === PT_LOAD && length > 0 && p_paddr !== BigInt(PADDR_MAX))
    .sort((a, b) => (a.p_paddr < b.p_paddr ? -1 : a.p_paddr > b.p_paddr ? 1 : 0))
  if (ours) return coreGuest(ours, (memory) => placeSegments(source, memory, loads))
  const ofQemu = qemuNotes(notes)
  if (ofQemu.length > 0) {
    if (loads.length === 0) refuseElf('the guest has no memory', 'a segment with bytes', 'none', 0)
    const memory = placeSegments(source, new GuestMemory(rangesOf(loads)), loads)
    return qemuGuest(ofQemu, machine, memory)
  }
  const info = notes.find(({ owner }) => owner === VMCOREINFO_OWNER)
  if (info && loads.length > 0 && !notes.some(({ owner }) => owner === XEN_NOTE_OWNER)) {
    const memory = placeSegments(source, new GuestMemory(rangesOf(loads)), loads)
    return crashedGuest(notes, decodeUtf8(info.desc), machine === EM_X86_64, memory)
  }
  const kind = FOREIGN_CORES.find((kind) =>
    notes.some(({ owner, type }) => owner === kind.owner && (kind.type ?? type) === type),
  )
  if (kind !== undefined) refuseGuest(kind.what, A_CORE_OF_XEN, 0)
  throw new DomainBuilderError('unknown-format', 'the core has no description of the guest', {
    expected: `a note of ${GUEST_NOTE_OWNER}`,
    found: notes.map(({ owner }) => owner).join(' ') || 'no note',
    offset: 0,
  })
}

/** Returns the frames of these segments, which are in order. QEMU says nowhere else which memory a guest has. */
function rangesOf(loads: readonly FileSegment[]): Range<Pfn>[] {
  const ranges: Range<Pfn>[] = []
  for (const { p_paddr, length, at } of loads) {
    const end = p_paddr + BigInt(length)
    if (end > BigInt(PADDR_MAX)) refuseElf('a segment lies too high', `below ${hex(PADDR_MAX)}`, hex(end), at)
    addRange(ranges, pfnOf(Number(p_paddr)), Math.ceil(Number(end) / PAGE_SIZE))
  }
  return ranges
}

/** Places segments, which are in order of physical address. A segment with one header for each of its mappings is placed once. */
function placeSegments(source: ByteSource, memory: GuestMemory, loads: readonly FileSegment[]): GuestMemory {
  const end = BigInt(paddrOf(memory.endPfn))
  const pieces: FilePages[] = []
  const headers: number[] = []
  const refuse = (header: number, expected: string, found: string): never =>
    refuseElf('a segment lies outside the guest', expected, found, header)
  let placed = 0
  for (const { p_paddr, offset, length, at } of loads) {
    const whole = p_paddr % BigInt(PAGE_SIZE) === 0n && length % PAGE_SIZE === 0
    if (!whole || p_paddr + BigInt(length) > end) {
      refuse(at, `whole pages below ${hex(end)}`, `${hex(p_paddr)} + ${length}`)
    }
    const paddr = Number(p_paddr)
    const from = Math.max(paddr, placed)
    if (from >= paddr + length) continue
    placed = paddr + length
    pieces.push({ paddr: from, offset: offset + from - paddr, length: placed - from })
    headers.push(at)
  }
  return placeFile(memory, source, pieces, (i, expected, found) => refuse(headers[i] as number, expected, found))
}

/** The format that gdb and crash open. */
export const elfCoreFormat: SnapshotFormat<ElfCoreOptions> = {
  name: 'elf-core',
  summary: 'an ELF core for gdb and crash',
  extensions: ['core'],
  files: [''],
  sniff: ({ main }) => {
    const start = startOf(main, Ehdr64.size)
    return isCore32(start) || (isCore(start) && !isXenCore(main))
  },
  open: ({ main }) => openElfCore(main),
  *write(domain, options) {
    return [yield* elfCoreSlices(domain, options)]
  },
}
