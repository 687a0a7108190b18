/**
 * Kernels that no linker would make: every claim a PV kernel can make, present, absent and at its limits.
 *
 * Source: xen/include/public/elfnote.h; the claims of real kernels, and the fields that libxenguest reads.
 * Gotcha: with frequent oddities, both builders would only agree on refusals, so most kernels are sound.
 */

import { PF_R, PF_RWX, PF_X, PT_LOAD } from '../../lib/abi/elf.js'
import { bsdSymtab } from '../../lib/kernel/bsd-symtab.js'
import { physicalExtent } from '../../lib/kernel/elf.js'
import {
  buildElf,
  type ElfSpec,
  type NoteDesc,
  patternBytes,
  type SectionSpec,
  type SegmentSpec,
  symbolSections,
  xenNotes,
} from '../../lib/testing/index.js'
import { parseElf } from '../fixtures/elf-at-once.js'
import type { Random } from '../fixtures/random.js'

type Notes = Parameters<typeof xenNotes>[0]
type DraftNotes = { -readonly [K in keyof Notes]: NoteDesc }

const PAGE = 4096n
const MIB = 0x100000n

/** A generated kernel and its parts, for the report of a failing case. */
export interface GeneratedKernel {
  readonly elf: Uint8Array
  readonly spec: ElfSpec
  /** MiB from VIRT_BASE to the end of its image: the least memory that can be enough. */
  readonly reachMiB: number
  /** Its __xen_guest string, if it has one instead of notes. */
  readonly guestString?: string
}

/** The address space that the kernel asks for, and the place of its image in it. */
interface Place {
  readonly class: 32 | 64
  readonly virtBase: bigint
  readonly paddrOffset: bigint
  /** The range of p_paddr. */
  readonly start: bigint
  end: bigint
}

const wrap = (place: Place, value: bigint): bigint => BigInt.asUintN(place.class, value)
/** Returns the virtual address of a physical one, as Xen computes it. */
const virtual = (place: Place, paddr: bigint): bigint => wrap(place, paddr + place.virtBase - place.paddrOffset)

function choosePlace(r: Random): Place {
  const elfClass = r.percent(60) ? 64 : 32
  const virtBase =
    elfClass === 64
      ? r.pick([
          0xffffffff80000000n,
          0xffffffff80000000n,
          0n,
          0x40000000n,
          0xffff880000000000n,
          0x7fffffc00000n,
          0x3fe00000n,
        ])
      : r.pick([0xc0000000n, 0xc0000000n, 0n, 0x40000000n, 0xbfc00000n, 0xbf800000n, 0xff000000n, 0x1000000n])
  const nudge = r.percent(10) ? r.pick([PAGE, 0x200000n, 0x1ff000n, 0x3ff000n, 0x10n]) : 0n
  const base = wrap({ class: elfClass, virtBase: 0n, paddrOffset: 0n, start: 0n, end: 0n }, virtBase + nudge)
  const paddrOffset = r.pick([0n, 0n, 0n, base, MIB, 0x200000n])
  const start =
    paddrOffset + r.pick([0n, PAGE, MIB, MIB, 0x200000n, 0x3ff000n, 0x400000n]) + (r.percent(2) ? 0x10n : 0n)
  return { class: elfClass, virtBase: base, paddrOffset, start, end: start }
}

function chooseSegments(r: Random, place: Place): SegmentSpec[] {
  if (r.percent(1)) return [{ paddr: wrap(place, place.start), memsz: 0 }]
  const segments: SegmentSpec[] = []
  const count = r.pick([1, 1, 2, 3, 3, 5])
  for (let i = 0; i < count; i++) {
    const filesz = r.pick([0, 1, 17, 4095, 4096, 4097, 12288, 70000])
    const memsz = filesz + r.pick([0, 0, 0, 1, 4096, 100000, 0x200000])
    // Right after the last one, over its tail, or a little, a page or more after it; the first one at the start.
    const gap = r.pick([0n, 0n, -16n, -4096n, 5n, PAGE, 0x7000n])
    let paddr = i === 0 ? place.start : place.end + gap
    if (paddr < place.start) paddr = place.start
    const end = paddr + BigInt(memsz)
    if (end > place.end) place.end = end
    segments.push({
      paddr: wrap(place, paddr),
      // A linker's address, or any other: Xen ignores it.
      vaddr: r.percent(80) ? virtual(place, paddr) : wrap(place, BigInt(r.integer(0, 0x7fffffff))),
      data: patternBytes(filesz, r.integer(1, 0xffffffff)),
      memsz,
      flags: r.pick([PF_RWX, PF_RWX, PF_R | PF_X, PF_R]),
      align: r.pick([4096, 4096, 16, 1]),
    })
  }
  const [first] = segments
  if (r.percent(8)) segments.push({ paddr: place.end + 0x5000n, data: patternBytes(64), flags: 0 })
  if (r.percent(5)) segments.push({ type: 0x6474e551, paddr: 0, data: new Uint8Array(0) })
  if (r.percent(2)) segments.push({ paddr: wrap(place, place.start), memsz: 0 })
  if (first && r.percent(2)) segments[0] = { ...first, header: damage(r, first) }
  // Overlapping several times, around the limit of twice the image.
  if (first && r.percent(4)) {
    for (let i = r.integer(1, 3); i > 0; i--)
      segments.push({ ...first, data: patternBytes(first.data?.length ?? 0, i) })
  }
  return r.percent(30) ? segments.reverse() : segments
}

type Header = NonNullable<SegmentSpec['header']>

/** A header that claims more than the file has, or more than there is room for. */
function damage(r: Random, { data }: SegmentSpec): Header {
  const filesz = data?.length ?? 0
  const ways: [Header, ...Header[]] = [
    { p_offset: 0x10000000 },
    { p_filesz: filesz + 0x1000000, p_memsz: filesz + 0x1000000 },
    { p_filesz: filesz + 1, p_memsz: filesz },
  ]
  return r.pick(ways)
}

const SOUND_FEATURES = [
  'writable_page_tables',
  'writable_page_tables|pae_pgdir_above_4gb',
  'writable_page_tables|pae_pgdir_above_4gb|hvm_callback_vector',
  'dom0|writable_descriptor_tables|writable_page_tables|pae_pgdir_above_4gb',
  '!writable_page_tables|pae_pgdir_above_4gb',
  '',
] as const

const FEATURES = [
  '!writable_page_tables|pae_pgdir_above_4gb',
  '!writable_page_tables|!pae_pgdir_above_4gb|supervisor_mode_kernel|auto_translated_physmap',
  '!auto_translated_physmap',
  '!dom0',
  'unknown_feature',
  'writable_page_tables|!unknown_feature',
  '|',
  'writable_page_tables|',
] as const

const SOUND_PAE_MODES = ['yes', 'bimodal', 'yes,bimodal', 'bimodal,no'] as const
const PAE_MODES = ['no', 'yes[extended-cr3]', 'YES', ''] as const

const chooseFeatures = (r: Random): string => (r.percent(85) ? r.pick(SOUND_FEATURES) : r.pick(FEATURES))

/** Returns an entry: the start, the middle, the end (which Xen allows), or just outside. */
function chooseEntry(r: Random, place: Place): bigint {
  const start = virtual(place, place.start)
  const end = virtual(place, place.end)
  return wrap(
    place,
    r.pick([
      start,
      start,
      start,
      start + 7n,
      (start + end) / 2n,
      end - 1n,
      end,
      ...(r.percent(5) ? [end + 1n, start - 1n] : []),
    ]),
  )
}

function chooseInitP2m(r: Random, place: Place): bigint {
  const { virtBase } = place
  const start = virtual(place, place.start)
  return wrap(
    place,
    r.pick([
      0x8000000000n,
      0x8000000000n,
      virtBase - 0x200000n,
      virtBase - 0x40000000n,
      virtBase - PAGE,
      PAGE,
      0n,
      0x7ffffe00000n,
      virtBase - 0x8000000000n,
      ...(r.percent(50)
        ? [0x8000000010n, virtBase, start + PAGE, start + 5n, virtBase + 0x10000000n, 0x1000000000000n]
        : []),
    ]),
  )
}

/** Returns a word of the class, or a descriptor of another size. */
function width(r: Random, value: bigint): NoteDesc {
  if (r.percent(97)) return value
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, value, true)
  return bytes.slice(0, r.pick([1, 2, 4, 8]))
}

function chooseNotes(r: Random, place: Place): Notes {
  const notes: DraftNotes = {}
  const put = (name: keyof Notes, percent: number, make: () => NoteDesc) => {
    if (r.percent(percent)) notes[name] = make()
  }
  put('XEN_VERSION', 99, () => (r.percent(97) ? 'xen-3.0' : r.pick(['xen-3.0-x86_64', 'xen-2.0', 'xen-3', ''])))
  put('LOADER', 97, () => (r.percent(96) ? 'generic' : r.pick(['generic-elf', 'mine', ''])))
  put('GUEST_OS', 80, () => r.pick(['linux', 'linux', 'linux-next', 'NetBSD', '']))
  put('GUEST_VERSION', 40, () => '2.6')
  if (place.virtBase !== 0n || place.paddrOffset !== 0n || r.percent(70))
    put('VIRT_BASE', 99, () => width(r, place.virtBase))
  if (place.paddrOffset !== 0n || (r.percent(50) && 'VIRT_BASE' in notes))
    put('PADDR_OFFSET', 99, () => width(r, place.paddrOffset))
  put('ENTRY', 75, () => width(r, chooseEntry(r, place)))
  put('HYPERCALL_PAGE', 40, () => {
    const start = virtual(place, place.start)
    return wrap(
      place,
      r.pick([
        start,
        start + PAGE,
        start + 0x10n,
        ...(r.percent(20) ? [place.virtBase - PAGE, start + 0x40000000n] : []),
      ]),
    )
  })
  put('INIT_P2M', place.class === 64 ? 45 : 10, () => chooseInitP2m(r, place))
  put('MOD_START_PFN', 45, () => r.pick([0, 1, 1, 1, 2]))
  put('PAE_MODE', place.class === 32 ? 95 : 50, () => (r.percent(92) ? r.pick(SOUND_PAE_MODES) : r.pick(PAE_MODES)))
  put('FEATURES', 50, () => chooseFeatures(r))
  put('SUPPORTED_FEATURES', 30, () => r.pick([0, 1, 0x8801, 0x11, 0xffffffff, 4]))
  put('SUSPEND_CANCEL', 30, () => 1)
  put('HV_START_LOW', 20, () => (place.class === 32 ? 0xf5800000 : 0xffff800000000000n))
  put('L1_MFN_VALID', 15, () => new Uint8Array(place.class / 4).fill(1))
  put('BSD_SYMTAB', 8, () => r.pick(['yes', 'no', 'yes,more']))
  put('PHYS32_ENTRY', 10, () => [0x100000])
  return r.percent(50) ? Object.fromEntries(Object.entries(notes).reverse()) : notes
}

/** Returns the old form, key=value,... in a section. Numbers are decimal or hex; addresses are wide. */
function chooseGuestString(r: Random, place: Place): string {
  const hex = (value: bigint) => `0x${value.toString(16)}`
  const keys: string[] = []
  const put = (percent: number, make: () => string) => {
    if (r.percent(percent)) keys.push(make())
  }
  put(90, () => `GUEST_OS=${r.pick(['linux', 'GNU Mach', 'NetBSD'])}`)
  put(50, () => 'GUEST_VER=2.6')
  put(97, () => `XEN_VER=${r.percent(95) ? 'xen-3.0' : 'xen-2.0'}`)
  put(95, () => `VIRT_BASE=${hex(place.virtBase)}`)
  put(90, () => `ELF_PADDR_OFFSET=${hex(place.paddrOffset)}`)
  put(60, () => `VIRT_ENTRY=${hex(chooseEntry(r, place))}`)
  put(40, () => `HYPERCALL_PAGE=${hex((virtual(place, place.start) - place.virtBase) / PAGE + 1n)}`)
  put(50, () => `FEATURES=${chooseFeatures(r)}`)
  put(
    place.class === 32 ? 95 : 50,
    () =>
      `PAE=${r.pick(['yes', 'yes', 'yes', 'yes[extended-cr3]', 'yes[extended-cr3]', 'yes[extended-cr3]', 'no', 'bimodal', 'yes[other]'])}`,
  )
  put(95, () => `LOADER=${r.percent(96) ? 'generic' : 'mine'}`)
  put(10, () => `BSD_SYMTAB${r.percent(50) ? '=yes' : ''}`)
  put(10, () => 'SOMETHING_ELSE=1')
  return keys.join(',')
}

const SYMBOLS = [
  { name: '_start', value: 0x100000, size: 4 },
  { name: 'end_of_all_things', value: 0x100100, size: 4 },
]

/** Returns the symbols' sections; on 32-bit, names are often long enough to end a few bytes into a page. */
function chooseSymbols(r: Random, place: Place, segments: readonly SegmentSpec[]): SectionSpec[] {
  const sections = (length: number) =>
    symbolSections(place.class, [...SYMBOLS, { name: 's'.repeat(length), value: 0x100200 }])
  const length = r.integer(1, 4000)
  if (place.class === 64 || r.percent(60) || segments.some(({ header }) => header)) return sections(length)
  const image = parseElf(buildElf({ class: place.class, entry: 0, segments, sections: sections(1) }))
  const extent = physicalExtent(image)
  const table = extent && bsdSymtab(image, extent)
  const last = table?.pieces.at(-1)
  if (!table || !last) return sections(length)
  const end = Number(table.pstart) + last.offset + last.bytes.length
  return sections(1 + ((2 * Number(PAGE) + r.integer(1, 60) - (end % Number(PAGE))) % Number(PAGE)))
}

export function generateKernel(r: Random): GeneratedKernel {
  const place = choosePlace(r)
  const segments = chooseSegments(r, place)
  const entry = chooseEntry(r, place)
  const guestString = r.percent(15) ? chooseGuestString(r, place) : undefined
  const notes = guestString === undefined && r.percent(98) ? xenNotes(chooseNotes(r, place)) : undefined
  const sections: SectionSpec[] = []
  if (guestString !== undefined)
    sections.push({ name: '__xen_guest', data: new TextEncoder().encode(`${guestString}\0`) })
  const wantsSymbols = guestString?.includes('BSD_SYMTAB') || notes?.some(({ type }) => type === 'BSD_SYMTAB')
  if (r.percent(wantsSymbols ? 70 : 10)) {
    sections.push(...chooseSymbols(r, place, segments))
  }
  const spec: ElfSpec = {
    class: place.class,
    entry,
    segments: segments.map((s) => ({ ...s, type: s.type ?? PT_LOAD })),
    ...(notes ? { notes, notesIn: r.pick(['segment', 'segment', 'segment', 'section', 'both']) } : {}),
    ...(sections.length > 0 ? { sections } : {}),
  }
  const reachMiB = Math.ceil(Number(place.end - place.paddrOffset) / Number(MIB))
  return { elf: buildElf(spec), spec, reachMiB, ...(guestString === undefined ? {} : { guestString }) }
}
