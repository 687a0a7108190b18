/**
 * The claims in a kernel's Xen notes; a kernel without one may have a __xen_guest string instead.
 *
 * Source: xen/include/public/elfnote.h.
 * Gotcha: MOD_START_PFN and SUSPEND_CANCEL are numbers, of which only zero means no.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logNotes } from '../log.js'
import { hex, U32_MAX } from '../units.js'
import type { ElfImage } from './elf.js'
import { parseFeatures } from './feature-string.js'
import { checkXenOwners, type ElfNote, noteNumber, noteString, noteU32s } from './notes.js'
import { guestSection, readGuestString } from './xen-guest-string.js'
import { emptyParams, type XenParams, type XenParamsDraft } from './xen-params.js'

/**
 * The parameters of a kernel: from its Xen notes, or without any from its __xen_guest section, else undefined.
 * @throws DomainBuilderError `bad-note` for a note whose value is invalid for its type, or whose owner is almost Xen.
 */
export function xenParams(elf: ElfImage, notes: readonly ElfNote[]): XenParams | undefined {
  checkXenOwners(notes)
  const own = notes.filter(({ isXen }) => isXen)
  const section = own.length === 0 ? guestSection(elf) : undefined
  const source = section === undefined ? own[0]?.from : '__xen_guest'
  if (source === undefined) return undefined
  const params = emptyParams(source)
  if (section !== undefined) readGuestString(elf, section, params)
  for (const note of own) readNote(note, params)
  logNotes('from %s: %o', params.source, params)
  return params
}

/** The notes whose value is a parameter as it is, by kind. */
const TEXTS = {
  GUEST_OS: 'guestOs',
  GUEST_VERSION: 'guestVersion',
  XEN_VERSION: 'xenVersion',
  LOADER: 'loader',
} as const
const NUMBERS = {
  VIRT_BASE: 'virtBase',
  ENTRY: 'entry',
  HYPERCALL_PAGE: 'hypercallPage',
  PADDR_OFFSET: 'paddrOffset',
  INIT_P2M: 'initP2m',
  HV_START_LOW: 'hvStartLow',
} as const
const FLAGS = { MOD_START_PFN: 'modStartPfn', SUSPEND_CANCEL: 'suspendCancel' } as const

const isIn = <T extends object>(table: T, name: PropertyKey): name is keyof T => Object.hasOwn(table, name)

/** Reads a note. The last one of a type wins, except for PAE_MODE and FEATURES, which only add. */
function readNote(note: ElfNote, params: XenParamsDraft): void {
  const { name = '' } = note
  if (isIn(TEXTS, name)) params[TEXTS[name]] = noteString(note)
  else if (isIn(NUMBERS, name)) params[NUMBERS[name]] = noteNumber(note)
  else if (isIn(FLAGS, name)) params[FLAGS[name]] = noteNumber(note) !== 0n
  else readOther(note, params)
}

/** Reads a note whose value has parts, limits or an effect on earlier ones. */
function readOther(note: ElfNote, params: XenParamsDraft): void {
  switch (note.name) {
    case 'PAE_MODE': {
      const mode = noteString(note)
      // "yes[extended-cr3]" belongs to __xen_guest; in a note it has no meaning, and Xen ignores it.
      if (mode === 'yes') params.pae = 'extended-cr3'
      if (mode.includes('bimodal')) params.pae = 'bimodal'
      break
    }
    case 'BSD_SYMTAB':
      params.bsdSymtab ||= noteString(note) === 'yes'
      break
    case 'FEATURES': {
      if (params.unknownRequired !== undefined) break
      const features = parseFeatures(noteString(note))
      params.supported = (params.supported | features.supported) >>> 0
      params.required = (params.required | features.required) >>> 0
      if (features.unknownRequired !== undefined) params.unknownRequired = features.unknownRequired
      break
    }
    case 'SUPPORTED_FEATURES':
      params.supported = (params.supported | (noteU32s(note, 1)[0] ?? 0)) >>> 0
      break
    case 'PHYS32_ENTRY':
      params.physEntry = physicalEntry(note)
      break
    case 'PHYS32_RELOC': {
      const [align, min, max] = noteU32s(note, 3)
      params.physReloc = defined({ align, min, max })
      break
    }
  }
}

/** Four bytes by the specification, eight in Linux; either way the processor starts in 32-bit mode. */
function physicalEntry(note: ElfNote): number {
  const entry = noteNumber(note)
  if (entry > BigInt(U32_MAX)) {
    throw new DomainBuilderError('bad-note', 'note PHYS32_ENTRY is not a 32-bit physical address', {
      expected: `at most ${hex(U32_MAX)}`,
      found: hex(entry),
      offset: note.offset,
    })
  }
  return Number(entry)
}
