/**
 * Unified kernel images: a PE file whose .linux section holds a kernel, next to a command line, a ramdisk and others.
 *
 * Source: lib/abi/pe.ts.
 * Gotcha: VirtualSize is the size of the content; SizeOfRawData is that size rounded up to the alignment of the file.
 */
import {
  CoffHeader,
  E_LFANEW_OFFSET,
  MZ_MAGIC,
  PE_SECTIONS_MAX,
  PE_SIGNATURE,
  SectionHeader,
  UKI_LINUX,
} from '../abi/pe.js'
import { decodeLatin1, encodeLatin1, startsWith } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'

/** A section of a UKI. */
export interface UkiSection {
  /** Such as `.linux`. */
  readonly name: string
  /** Bytes from the start of the UKI. */
  readonly offset: number
  /** Bytes of the content, without the padding after it. */
  readonly size: number
}

/** Returns the sections of a UKI; undefined for any other file. A header after the end of the bytes is ignored. */
export function ukiSections(bytes: Uint8Array): readonly UkiSection[] | undefined {
  if (!startsWith(bytes, encodeLatin1(MZ_MAGIC)) || bytes.length < E_LFANEW_OFFSET + 4) return undefined
  const signatureAt = new DataView(bytes.buffer, bytes.byteOffset).getUint32(E_LFANEW_OFFSET, true)
  const coffAt = signatureAt + PE_SIGNATURE.length
  if (!startsWith(bytes, encodeLatin1(PE_SIGNATURE), signatureAt) || coffAt + CoffHeader.size > bytes.length) {
    return undefined
  }
  const { NumberOfSections, SizeOfOptionalHeader } = CoffHeader.decode(bytes, coffAt)
  const sections: UkiSection[] = []
  for (let i = 0; i < Math.min(NumberOfSections, PE_SECTIONS_MAX); i++) {
    const at = coffAt + CoffHeader.size + SizeOfOptionalHeader + i * SectionHeader.size
    if (at + SectionHeader.size > bytes.length) break
    const { Name, VirtualSize, SizeOfRawData, PointerToRawData } = SectionHeader.decode(bytes, at)
    const size = VirtualSize === 0 ? SizeOfRawData : Math.min(VirtualSize, SizeOfRawData)
    sections.push({ name: decodeLatin1(Name).replace(/\0.*$/s, ''), offset: PointerToRawData, size })
  }
  return sections.some(({ name }) => name === UKI_LINUX) ? sections : undefined
}

/** Returns the kernel of a UKI, a view. @throws DomainBuilderError `truncated`. */
export function ukiKernel(bytes: Uint8Array, sections: readonly UkiSection[]): Uint8Array {
  // ukiSections returned them because they have it.
  const { offset, size } = sections.find(({ name }) => name === UKI_LINUX) as UkiSection
  if (offset + size > bytes.length) {
    throw new DomainBuilderError('truncated', `the ${UKI_LINUX} section reaches past the end of the file`, {
      expected: `an end at ${hex(bytes.length)} or before`,
      found: `${hex(offset)} + ${hex(size)}`,
    })
  }
  return bytes.subarray(offset, offset + size)
}
