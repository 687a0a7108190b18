/**
 * QEMU's migration stream: sections, the flags of its memory, and how it ends.
 *
 * Source: QEMU docs/devel/migration/main.rst; migration/savevm.c, migration/ram.c and migration/savevm.h for the
 * numbers.
 * Gotcha: every integer is big-endian. Only the description at the end says how long the section of a device is.
 */

/** "QEVM" and the version that every QEMU since 0.13 writes. */
export const QEMU_STREAM_MAGIC = 0x5145564d
export const QEMU_STREAM_VERSION = 3

/** The first byte of each part of a stream. */
export const SECTION = {
  EOF: 0x00,
  START: 0x01,
  PART: 0x02,
  END: 0x03,
  FULL: 0x04,
  SUBSECTION: 0x05,
  DESCRIPTION: 0x06,
  CONFIGURATION: 0x07,
  COMMAND: 0x08,
  FOOTER: 0x7e,
} as const

/** Commands that change nothing for a reader of a file; the others belong to postcopy and COLO. */
export const HARMLESS_COMMANDS: readonly number[] = [1, 2, 11]

/** The section of the memory, and the version of its layout. */
export const RAM_SECTION = { id: 2, name: 'ram', version: 4 } as const
/** The numbers that QEMU gives to the timers, and to the first device. */
export const TIMER_SECTION_ID = 0
export const FIRST_DEVICE_ID = 4

/** The low bits of a page's address. */
export const RAM_FLAG = {
  ZERO: 0x002,
  SIZES: 0x004,
  PAGE: 0x008,
  END: 0x010,
  SAME_BLOCK: 0x020,
  XBZRLE: 0x040,
  HOOK: 0x080,
  COMPRESSED: 0x100,
  MULTIFD_FLUSH: 0x200,
} as const
/** The bits of an address that hold flags. */
export const RAM_FLAGS = 0xfff

/** Bytes in front of a page of the same block as the page before: its address. A zero page has one byte more. */
export const PAGE_HEADER = 8
export const ZERO_PAGE_BYTES = PAGE_HEADER + 1

/** The run state that QEMU restores: a guest that runs unless QEMU is told to pause. */
export const RUNNING = 'running'
