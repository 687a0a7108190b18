/**
 * Xen's ELF notes: the number, name and value of each.
 *
 * Source: xen/include/public/elfnote.h
 * (https://xenbits.xen.org/docs/unstable/hypercall/x86_64/include,public,elfnote.h.html).
 * Gotcha: a note's owner is exactly "Xen"; the type numbers of other owners mean other things.
 */
export const XEN_NOTE_OWNER = 'Xen'

/** The beginnings of LOADER, GUEST_OS and XEN_VERSION that Xen requires to load a PV kernel. */
export const GENERIC_LOADER = 'generic'
export const LINUX_GUEST_OS = 'linux'
export const XEN_VERSION_3 = 'xen-3.0'

/** PHYS32_RELOC's alignment if neither the note nor a segment with at least a page's alignment gives one. */
export const PHYS_RELOC_DEFAULT_ALIGN = 0x200000

/** The section that older kernels have instead of notes, and the most bytes of a key and of a value that Xen reads. */
export const XEN_GUEST_SECTION = '__xen_guest'
export const XEN_GUEST_KEY_MAX = 31
export const XEN_GUEST_VALUE_MAX = 127

/** The kind of descriptor: a number as wide as the descriptor, text, or a few u32. */
type XenNoteKind = 'number' | 'string' | 'u32s'

export const XEN_ELFNOTE = {
  INFO: 0,
  ENTRY: 1,
  HYPERCALL_PAGE: 2,
  VIRT_BASE: 3,
  PADDR_OFFSET: 4,
  XEN_VERSION: 5,
  GUEST_OS: 6,
  GUEST_VERSION: 7,
  LOADER: 8,
  PAE_MODE: 9,
  FEATURES: 10,
  BSD_SYMTAB: 11,
  HV_START_LOW: 12,
  L1_MFN_VALID: 13,
  SUSPEND_CANCEL: 14,
  INIT_P2M: 15,
  MOD_START_PFN: 16,
  SUPPORTED_FEATURES: 17,
  PHYS32_ENTRY: 18,
  PHYS32_RELOC: 19,
  CRASH_INFO: 0x1000001,
  CRASH_REGS: 0x1000002,
  DUMPCORE_NONE: 0x2000000,
  DUMPCORE_HEADER: 0x2000001,
  DUMPCORE_XEN_VERSION: 0x2000002,
  DUMPCORE_FORMAT_VERSION: 0x2000003,
} as const

/** A note of Xen, named without XEN_ELFNOTE_. */
export type XenNoteName = keyof typeof XEN_ELFNOTE

/** The kind of each note's descriptor; the descriptors of other notes are not decoded. */
export const XEN_NOTE_KINDS: Readonly<Partial<Record<XenNoteName, XenNoteKind>>> = {
  ENTRY: 'number',
  HYPERCALL_PAGE: 'number',
  VIRT_BASE: 'number',
  PADDR_OFFSET: 'number',
  XEN_VERSION: 'string',
  GUEST_OS: 'string',
  GUEST_VERSION: 'string',
  LOADER: 'string',
  PAE_MODE: 'string',
  FEATURES: 'string',
  BSD_SYMTAB: 'string',
  HV_START_LOW: 'number',
  SUSPEND_CANCEL: 'number',
  INIT_P2M: 'number',
  MOD_START_PFN: 'number',
  SUPPORTED_FEATURES: 'u32s',
  PHYS32_ENTRY: 'number',
  PHYS32_RELOC: 'u32s',
}

const NAME_OF = new Map<number, XenNoteName>(
  (Object.entries(XEN_ELFNOTE) as [XenNoteName, number][]).map(([name, type]) => [type, name]),
)

/** The name of a Xen note's type, without the XEN_ELFNOTE_ prefix. */
export const xenNoteName = (type: number): XenNoteName | undefined => NAME_OF.get(type)
