/**
 * The Linux setup header of a bzImage, by its version, and the place of the compressed kernel in the file.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: a field newer than the header's version must be ignored, so it is absent. payload_offset counts from the
 * protected-mode code, which begins after the setup sectors; 0 of them means 4.
 */

import {
  BOOT_FLAG,
  DEFAULT_SETUP_SECTS,
  HDRS_MAGIC,
  KERNEL_VERSION_BASE,
  LOADED_HIGH,
  PARAGRAPH_SIZE,
  PROTOCOL_OLDEST,
  PROTOCOL_SYSSIZE_32,
  SECTOR_SIZE,
  SETUP_FIELD_SINCE,
  SETUP_HEADER_OFFSET,
  SetupHeader,
  type SetupHeaderFields,
} from '../abi/boot-params.js'
import { decodeLatin1 } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'

type Since = typeof SETUP_FIELD_SINCE
/** The fields of every header, and those that its protocol version may lack. */
export type SetupFields = {
  readonly [K in keyof SetupHeaderFields as Since[K] extends 0x200 ? K : never]: SetupHeaderFields[K]
} & {
  readonly [K in keyof SetupHeaderFields as Since[K] extends 0x200 ? never : K]?: SetupHeaderFields[K]
}

/**
 * A bzImage's setup header, checked against the file; offsets and lengths are bytes of the file. Source: Linux
 * Documentation/arch/x86/boot.rst.
 */
export interface BzImage {
  /** Boot protocol version, 0x20f for 2.15. */
  readonly protocol: number
  /** The setup header, with C names; fields that its protocol lacks are undefined. */
  readonly header: SetupFields
  /** Bytes of boot sector and setup code; the protected-mode code follows. */
  readonly setupBytes: number
  /**
   * Whether syssize is 0 although bytes follow the setup code. The header then names no code for the 32-bit entry that
   * it claims: the setup code has another use for those bytes (memdisk, GRUB's lnxboot). No build of Linux writes it.
   */
  readonly noCode: boolean
  /** The text that kernel_version points to, if any. */
  readonly version?: string
  /** The place of the compressed kernel in the file, with its size trailer; absent if the header names none. */
  readonly payload?: { readonly offset: number; readonly length: number }
  /** The reason why the image cannot be loaded: it is a zImage, or the header promises more than the file has. */
  readonly fault?: DomainBuilderError
}

/** The longest version text, which is one line; a longer one is other data. */
const VERSION_MAX = 256

/** Whether the bytes have a Linux setup header, old or new. */
export function hasSetupHeader(bytes: Uint8Array): boolean {
  const at = (field: keyof SetupHeaderFields) => SETUP_HEADER_OFFSET + SetupHeader.offsetOf(field)
  if (bytes.length < at('header') + 4) return false
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint16(at('boot_flag'), true) === BOOT_FLAG && view.getUint32(at('header'), true) === HDRS_MAGIC
}

/** A protocol version as people write it: 2.15. */
export const showProtocol = (protocol: number): string =>
  `${protocol >> 8}.${(protocol & 0xff).toString().padStart(2, '0')}`

/**
 * Reads the setup header; call hasSetupHeader first. Damage after the header is not thrown: it is `fault`.
 * @throws DomainBuilderError `bad-bzimage` for an invalid version, without which no field can be read, or `truncated`.
 */
export function parseBzImage(bytes: Uint8Array): BzImage {
  // The longest header, padded with zeros; fields that a version lacks are omitted below.
  const window = new Uint8Array(SetupHeader.size)
  window.set(bytes.subarray(SETUP_HEADER_OFFSET, SETUP_HEADER_OFFSET + SetupHeader.size))
  const raw = SetupHeader.decode(window)
  const protocol = raw.version
  const setupBytes = ((raw.setup_sects || DEFAULT_SETUP_SECTS) + 1) * SECTOR_SIZE
  const cut = bytes.length > setupBytes ? undefined : cutFault(setupBytes, bytes.length)
  if (protocol < PROTOCOL_OLDEST) {
    throw (
      cut ??
      new DomainBuilderError('bad-bzimage', 'the version of the setup header is invalid', {
        expected: `${showProtocol(PROTOCOL_OLDEST)} or newer`,
        found: hex(protocol),
        offset: fileOffset('version'),
      })
    )
  }
  const entries = SetupHeader.fieldNames
    .filter((field) => SETUP_FIELD_SINCE[field] <= protocol)
    .map((field) => [field, raw[field]])
  // The filter above matches the type.
  const header: SetupFields = Object.fromEntries(entries)
  const paragraphs = (count: number) => (protocol < PROTOCOL_SYSSIZE_32 ? count & 0xffff : count)
  const syssize = paragraphs(raw.syssize)
  const version = versionText(bytes, raw.kernel_version, setupBytes)
  const codeBytes = Math.max(0, bytes.length - setupBytes)
  // As a u16, 0 is also the size of an old kernel with a whole number of MiB.
  const noCode = syssize === 0 && paragraphs(Math.ceil(codeBytes / PARAGRAPH_SIZE)) !== 0
  const fault = cut ?? imageFault(header, setupBytes, bytes.length)
  const payload = fault === undefined ? payloadRange(header, setupBytes) : undefined
  return {
    protocol,
    header: { ...header, syssize },
    setupBytes,
    noCode,
    ...defined({ version, payload, fault }),
  }
}

const fileOffset = (field: keyof SetupHeaderFields): number => SETUP_HEADER_OFFSET + SetupHeader.offsetOf(field)

const cutFault = (setupBytes: number, fileSize: number): DomainBuilderError =>
  new DomainBuilderError('truncated', 'the file ends within the setup code: setup_sects promises more', {
    expected: `more than ${hex(setupBytes)} bytes`,
    found: hex(fileSize),
    offset: fileOffset('setup_sects'),
  })

/** Returns the reason why an image with all of its setup code cannot be loaded, if any. */
function imageFault(header: SetupFields, setupBytes: number, fileSize: number): DomainBuilderError | undefined {
  if ((header.loadflags & LOADED_HIGH) === 0) {
    return new DomainBuilderError(
      'not-a-kernel',
      'the file is a zImage, which loads below 640 KiB and is not supported',
      {
        expected: 'a bzImage: loadflags bit 0 (LOADED_HIGH) set',
        found: hex(header.loadflags),
        offset: fileOffset('loadflags'),
      },
    )
  }
  const { offset, length } = payloadRange(header, 0) ?? { offset: 0, length: 0 }
  if (setupBytes + offset + length > fileSize) {
    return new DomainBuilderError('truncated', 'the payload reaches past the end of the file', {
      expected: `payload_offset + payload_length at most ${hex(fileSize - setupBytes)}`,
      found: `${hex(offset)} + ${hex(length)}`,
      offset: fileOffset('payload_offset'),
    })
  }
  return undefined
}

/** Returns the payload's place after `setupBytes`; undefined if the header names none. */
function payloadRange(header: SetupFields, setupBytes: number): BzImage['payload'] {
  const { payload_offset: offset, payload_length: length } = header
  if (offset === undefined || length === undefined || length === 0) return undefined
  return { offset: setupBytes + offset, length }
}

/** The text at kernel_version. It is for people: an invalid pointer means no text, and is no error. */
function versionText(bytes: Uint8Array, pointer: number, setupBytes: number): string | undefined {
  if (pointer === 0) return undefined
  const start = pointer + KERNEL_VERSION_BASE
  const window = bytes.subarray(start, Math.min(setupBytes, start + VERSION_MAX))
  const nul = window.indexOf(0)
  const text = nul <= 0 ? '' : decodeLatin1(window.subarray(0, nul))
  return /^[\x20-\x7e]+$/.test(text) ? text : undefined
}
