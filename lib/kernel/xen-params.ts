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
  /** What they were read from. The comments below give the notes' names; a __xen_guest string has keys of its own. */
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
  /** PADDR_OFFSET: what p_paddr counts from, bytes. */
  readonly paddrOffset?: bigint
  /** INIT_P2M: the virtual address where the p2m is to be mapped. */
  readonly initP2m?: bigint
  /** HV_START_LOW: the lowest virtual address that the hypervisor may have. */
  readonly hvStartLow?: bigint
  /** MOD_START_PFN is not zero: the ramdisk need not be mapped. */
  readonly modStartPfn: boolean
  /** 'yes' only from __xen_guest: PAE without extended cr3. */
  readonly pae: 'no' | 'yes' | 'extended-cr3' | 'bimodal'
  /** BSD_SYMTAB: symbols are to be loaded behind the kernel. */
  readonly bsdSymtab: boolean
  /** SUSPEND_CANCEL: a suspension that is called off returns to the guest. */
  readonly suspendCancel: boolean
  /** Feature words (bit numbers in abi/features.ts); required is a subset of supported. */
  readonly supported: number
  /** What a FEATURES string marks with `!`. */
  readonly required: number
  /** A FEATURES entry with ! that nobody knows: the kernel cannot be started. */
  readonly unknownRequired?: string
  /** PHYS32_ENTRY, the physical address of a PVH entry. */
  readonly physEntry?: number
  /** PHYS32_RELOC: bytes to align to, and the range of physical addresses, `max` the last one. */
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
