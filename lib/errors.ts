/**
 * The one error that leaves this library for bad input.
 *
 * Source: our own rule. A message says what was expected, what was found, and where in the file; it fits on one line.
 * Gotcha: `code` is part of the public API and never changes its meaning; the wording of `message` may.
 */
import { defined } from './defined.js'
import { messagePart } from './printable.js'

/** Every code and its meaning. The command line prints the meaning; docs/errors.md lists cause and cure. */
export const ERROR_CODES = {
  'not-a-kernel': 'the file is not a kernel of a known kind',
  truncated: 'the file ends before the data that its headers promise',
  'bad-elf': 'an ELF header or segment contradicts itself or the file',
  'bad-bzimage': 'a Linux setup header contradicts itself or the file',
  'bad-note': 'a note or a __xen_guest key has a value that the specification forbids',
  'payload-unknown': 'the compression format of the payload is not used by Linux',
  'payload-damaged': 'the compressed payload does not decompress, or its checksum differs',
  'payload-too-large': 'the payload decompresses to more than the caller allows',
  'payload-size': 'the decompressed size of the payload differs from the size in the file',
  'not-xen-pv': 'the kernel does not say that it can be started as a Xen PV guest',
  'not-pvh': 'the kernel does not say that it can be started as a PVH guest',
  'not-linux': 'the kernel does not say that it is Linux, or has no Linux boot protocol entry',
  'unknown-feature': 'the kernel requires a feature that Xen does not know',
  'unsupported-feature': 'a requested feature is not supported by the kernel',
  'wrong-layout': "the kernel's addresses contradict each other",
  'memory-too-small': 'the guest has too little memory for what must be placed in it',
  'does-not-fit': 'data cannot be placed where it has to go',
  overlap: 'two ranges of memory overlap',
  'bad-config': 'the guest configuration has a value that cannot be used',
  'bad-range': 'a number is outside the range its field can hold',
  'bad-snapshot': 'a snapshot contradicts itself or its format',
  'unknown-format': 'the file is not a snapshot of a known format',
  'no-symbols': 'a file has no symbols of a kernel',
  'cannot-read': 'a file cannot be read',
  'cannot-write': 'a file cannot be written',
  'no-hypervisor': 'a program or a right that is needed to drive a hypervisor is missing',
  'hypercall-failed': 'the hypervisor or its xenstore refuses a request',
  'no-domain': 'the hypervisor has no domain of that name or number',
  'not-mapped': 'an address is not mapped by the page tables, or lies outside the memory',
} as const

/** One of the keys of ERROR_CODES. */
export type ErrorCode = keyof typeof ERROR_CODES

/** The details of an error, in addition to its message. */
export interface ErrorDetail {
  /** Byte offset in the file that was read, when the cause has one. */
  readonly offset?: number
  /** The value, limit or rule that was expected, ready to print. */
  readonly expected?: string
  /** The value found instead, ready to print. */
  readonly found?: string
  /** The error that caused this one. */
  readonly cause?: unknown
}

/** The most characters of a message, and of a value in it. A line has at most about a thousand. */
const MESSAGE_MAX = 400
const VALUE_MAX = 300

/** An error as JSON, without absent members. `offset` counts bytes of the file that was read. */
export interface ErrorJson {
  readonly code: ErrorCode
  /** The whole line: the error's `message`. */
  readonly message: string
  readonly expected?: string
  readonly found?: string
  readonly offset?: number
}

/** Thrown for every input that is refused; no other error is thrown for input. */
export class DomainBuilderError extends Error {
  override readonly name = 'DomainBuilderError'
  /** A key of ERROR_CODES; docs/errors.md has cause and cure. */
  readonly code: ErrorCode
  /** Byte offset in the file that was read. */
  readonly offset: number | undefined
  /** The value, limit or rule that was expected, on one line. */
  readonly expected: string | undefined
  /** The value found instead. */
  readonly found: string | undefined

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    // Text from an untrusted file may have any characters and any length.
    const expected = detail.expected === undefined ? undefined : messagePart(detail.expected, VALUE_MAX)
    const found = detail.found === undefined ? undefined : messagePart(detail.found, VALUE_MAX)
    const values = [
      expected === undefined ? '' : `expected ${expected}`,
      found === undefined ? '' : `found ${found}`,
    ].filter(Boolean)
    const where = detail.offset === undefined ? '' : ` (file offset 0x${detail.offset.toString(16)})`
    super([messagePart(message, MESSAGE_MAX), values.join(', ')].filter(Boolean).join(': ') + where, {
      cause: detail.cause,
    })
    this.code = code
    this.offset = detail.offset
    this.expected = expected
    this.found = found
  }

  /** The value that JSON.stringify uses: the code, the message and the known details. */
  toJSON(): ErrorJson {
    const { code, message, expected, found, offset } = this
    return defined({ code, message, expected, found, offset })
  }
}

/** Returns a refusal of the library. Throws every other error again: a fault of the program is no damage of a file. */
export function refusalOf(error: unknown): DomainBuilderError {
  if (error instanceof DomainBuilderError) return error
  throw error
}
