/**
 * Guests in files of other programs, which are not read: each refusal names the kind of file, and one to give instead.
 *
 * Source: ../abi/magics.ts; the ELF cores by ../abi/core-files.ts.
 * Gotcha: a legacy file of xl begins as any other, so ./xen-save.ts recognises it.
 */
import { DELTA_MAGIC } from '../abi/delta.js'
import { Ehdr64, ELF_MAGIC, ELFDATA2LSB, ET_CORE } from '../abi/elf.js'
import { GUEST_FILES } from '../abi/magics.js'
import { encodeLatin1, equal, startsWith } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { kindOf } from '../kernel/lookalike.js'

/** The bytes that a foreign guest is recognised by. */
export const FOREIGN_SNIFFED = Ehdr64.size

/** The cores that are read, as an error names them. */
export const A_CORE_OF_XEN = 'a core of xl dump-core or of QEMU, or one that convert writes'

/** Refuses a guest of another program, which is recognised by the bytes at that offset. */
export function refuseGuest(what: string, instead: string, offset: number): never {
  throw new DomainBuilderError('unknown-format', `the file is ${what}, which is not supported`, {
    expected: instead,
    offset,
  })
}

/** @throws DomainBuilderError `unknown-format` for a file that begins as a guest of another program. */
export function refuseForeign(start: Uint8Array): void {
  if (startsWith(start, encodeLatin1(DELTA_MAGIC))) {
    throw new DomainBuilderError('unknown-format', 'the file is a delta, which needs its base', {
      expected: 'BASE+DELTA, or convert BASE --apply DELTA',
      offset: 0,
    })
  }
  const kind = kindOf(start, GUEST_FILES)
  if (kind !== undefined) refuseGuest(kind.what, kind.instead, kind.offset)
  // The elf-core format takes every other core.
  if (isElfCore(start)) refuseGuest('an ELF core of a big-endian machine', A_CORE_OF_XEN, 0)
}

/** Returns whether a file begins as an ELF core of any class and byte order. */
function isElfCore(start: Uint8Array): boolean {
  if (start.length < Ehdr64.size || !equal(start.subarray(0, ELF_MAGIC.length), ELF_MAGIC)) return false
  const isLittle = start[Ehdr64.offsetOf('ei_data')] === ELFDATA2LSB
  return new DataView(start.buffer, start.byteOffset).getUint16(Ehdr64.offsetOf('e_type'), isLittle) === ET_CORE
}
