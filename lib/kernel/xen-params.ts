/**
 * What a kernel says to Xen, out of its notes or its __xen_guest string.
 *
 * Source: xen/include/public/elfnote.h.
 * Gotcha: absent is absent (undefined), never a magic number: libelf takes an ENTRY of 2^64-1 for "unset".
 */
import { DomainBuilderError } from '../errors.js'
import { logNotes } from '../log.js'
import { hex } from '../units.js'
import type { ElfImage } from './elf.js'
import { parseFeatures } from './feature-string.js'
import { type ElfNote, noteNumber, noteString, noteU32s } from './notes.js'
import { guestSection, readGuestString } from './xen-guest-string.js'

export { parseFeatures } from './feature-string.js'

/** Raw claims of the file; defaults and checks are pv-kernel.ts's and pvh-kernel.ts's business. */
export interface XenParams {
  readonly source: 'PT_NOTE' | 'SHT_NOTE' | '__xen_guest'
  readonly guestOs?: string
  readonly guestVersion?: string
  readonly xenVersion?: string
  readonly loader?: string
  readonly virtBase?: bigint
  readonly entry?: bigint
  readonly hypercallPage?: bigint
  readonly paddrOffset?: bigint
  readonly initP2m?: bigint
  readonly hvStartLow?: bigint
  /** MOD_START_PFN is not zero: the ramdisk need not be mapped. */
  readonly modStartPfn: boolean
  /** 'yes' only from __xen_guest: PAE without extended cr3. */
  readonly pae: 'no' | 'yes' | 'extended-cr3' | 'bimodal'
  readonly bsdSymtab: boolean
  readonly suspendCancel: boolean
  /** Feature words (bit numbers in abi/features.ts); required is a subset of supported. */
  readonly supported: number
  readonly required: number
  /** A FEATURES entry with ! that nobody knows: the kernel cannot be started. */
  readonly unknownRequired?: string
  readonly physEntry?: number
  readonly physReloc?: { readonly align?: number; readonly min?: number; readonly max?: number }
}

/** XenParams while they are put together. */
export type XenParamsDraft = { -readonly [K in keyof XenParams]: XenParams[K] }

/** Nothing said. */
const emptyParams = (source: XenParams['source']): XenParamsDraft => ({
  source,
  modStartPfn: false,
  pae: 'no',
  bsdSymtab: false,
  suspendCancel: false,
  supported: 0,
  required: 0,
})

const U32_MAX = 0xffffffffn

/**
 * The parameters of a kernel: its Xen notes, or without any its __xen_guest section; undefined where it has neither.
 * @throws DomainBuilderError `bad-note` for a note whose value its type cannot have.
 */
export function xenParams(elf: ElfImage, notes: readonly ElfNote[]): XenParams | undefined {
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

/** A type that comes twice is taken as it came last, except for the two that only ever add: PAE_MODE and FEATURES. */
function readNote(note: ElfNote, params: XenParamsDraft): void {
  switch (note.name) {
    case 'GUEST_OS':
      params.guestOs = noteString(note)
      break
    case 'GUEST_VERSION':
      params.guestVersion = noteString(note)
      break
    case 'XEN_VERSION':
      params.xenVersion = noteString(note)
      break
    case 'LOADER':
      params.loader = noteString(note)
      break
    case 'PAE_MODE': {
      const mode = noteString(note)
      // "yes[extended-cr3]" is a spelling of __xen_guest; in a note it means nothing, and Xen takes it as nothing.
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
    case 'VIRT_BASE':
      params.virtBase = noteNumber(note)
      break
    case 'ENTRY':
      params.entry = noteNumber(note)
      break
    case 'HYPERCALL_PAGE':
      params.hypercallPage = noteNumber(note)
      break
    case 'PADDR_OFFSET':
      params.paddrOffset = noteNumber(note)
      break
    case 'INIT_P2M':
      params.initP2m = noteNumber(note)
      break
    case 'HV_START_LOW':
      params.hvStartLow = noteNumber(note)
      break
    case 'MOD_START_PFN':
      params.modStartPfn = noteNumber(note) !== 0n
      break
    case 'SUSPEND_CANCEL':
      params.suspendCancel = noteNumber(note) !== 0n
      break
    case 'PHYS32_ENTRY':
      params.physEntry = physicalEntry(note)
      break
    case 'PHYS32_RELOC': {
      const [align, min, max] = noteU32s(note, 3)
      params.physReloc = {
        ...(align === undefined ? {} : { align }),
        ...(min === undefined ? {} : { min }),
        ...(max === undefined ? {} : { max }),
      }
      break
    }
  }
}

/** Four bytes by the specification, eight in Linux; either way the processor starts in 32-bit mode. */
function physicalEntry(note: ElfNote): number {
  const entry = noteNumber(note)
  if (entry > U32_MAX) {
    throw new DomainBuilderError('bad-note', 'note PHYS32_ENTRY is no 32-bit physical address', {
      expected: `at most ${hex(U32_MAX)}`,
      found: hex(entry),
      offset: note.offset,
    })
  }
  return Number(entry)
}
