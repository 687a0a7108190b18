/**
 * A kernel's claims for Xen, from its notes or its __xen_guest string.
 *
 * Source: xen/include/public/elfnote.h.
 * Gotcha: a magic number for "absent" would collide with a value: libelf takes an ENTRY of 2^64-1 for "unset". Here an
 * absent value is undefined.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logNotes } from '../log.js'
import { hex } from '../units.js'
import type { ElfImage } from './elf.js'
import { parseFeatures } from './feature-string.js'
import { type ElfNote, noteNumber, noteString, noteU32s } from './notes.js'
import { guestSection, readGuestString } from './xen-guest-string.js'

export { parseFeatures } from './feature-string.js'

/** Raw claims of the file; pv-kernel.ts and pvh-kernel.ts add defaults and checks. */
export interface XenParams {
  /** Where they were read from. The comments below give the notes' names; a __xen_guest string has other keys. */
  readonly source: 'PT_NOTE' | 'SHT_NOTE' | '__xen_guest'
  /** GUEST_OS. */
  readonly guestOs?: string
  /** GUEST_VERSION. */
  readonly guestVersion?: string
  /** XEN_VERSION; PV kernels say `xen-3.0`. */
  readonly xenVersion?: string
  /** LOADER; PV kernels say `generic`. */
  readonly loader?: string
  /** VIRT_BASE: the virtual address of physical 0. */
  readonly virtBase?: bigint
  /** ENTRY, a virtual address. */
  readonly entry?: bigint
  /** HYPERCALL_PAGE, the virtual address of a page for the hypervisor to fill. */
  readonly hypercallPage?: bigint
  /** PADDR_OFFSET: the origin of p_paddr, bytes. */
  readonly paddrOffset?: bigint
  /** INIT_P2M: the virtual address at which to map the p2m. */
  readonly initP2m?: bigint
  /** HV_START_LOW: the lowest virtual address that the hypervisor may use. */
  readonly hvStartLow?: bigint
  /** Whether MOD_START_PFN is not zero: then the ramdisk need not be mapped. */
  readonly modStartPfn: boolean
  /** 'yes' only from __xen_guest: PAE without extended cr3. */
  readonly pae: 'no' | 'yes' | 'extended-cr3' | 'bimodal'
  /** BSD_SYMTAB: whether to load symbols after the kernel. */
  readonly bsdSymtab: boolean
  /** SUSPEND_CANCEL: a cancelled suspension returns to the guest. */
  readonly suspendCancel: boolean
  /** Feature words (bit numbers in abi/features.ts); required is a subset of supported. */
  readonly supported: number
  /** The features that a FEATURES string marks with `!`. */
  readonly required: number
  /** An unknown FEATURES entry with !: the kernel cannot be started. */
  readonly unknownRequired?: string
  /** PHYS32_ENTRY, the physical address of a PVH entry. */
  readonly physEntry?: number
  /** PHYS32_RELOC: the alignment in bytes, and the range of physical addresses, `max` the last one. */
  readonly physReloc?: { readonly align?: number; readonly min?: number; readonly max?: number }
}

/** XenParams under construction. */
export type XenParamsDraft = { -readonly [K in keyof XenParams]: XenParams[K] }

/** Parameters without any claim. */
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
 * The parameters of a kernel: from its Xen notes, or without any from its __xen_guest section, else undefined.
 * @throws DomainBuilderError `bad-note` for a note whose value is invalid for its type.
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

/** Reads a note. The last one of a type wins, except for PAE_MODE and FEATURES, which only add. */
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
      params.physReloc = defined({ align, min, max })
      break
    }
  }
}

/** Four bytes by the specification, eight in Linux; either way the processor starts in 32-bit mode. */
function physicalEntry(note: ElfNote): number {
  const entry = noteNumber(note)
  if (entry > U32_MAX) {
    throw new DomainBuilderError('bad-note', 'note PHYS32_ENTRY is not a 32-bit physical address', {
      expected: `at most ${hex(U32_MAX)}`,
      found: hex(entry),
      offset: note.offset,
    })
  }
  return Number(entry)
}
