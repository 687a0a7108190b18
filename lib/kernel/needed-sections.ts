/**
 * Sections with a kernel's claims must be in the file; damage in all others is ignored.
 *
 * Source: xen/include/public/elfnote.h: segments first, SHT_NOTE sections without them, __xen_guest without those.
 * Gotcha: a kernel with its notes in a segment needs no section, yet Xen refuses it if the section table is truncated.
 */
import { SHT_NOTE } from '../abi/elf.js'
import { XEN_GUEST_SECTION } from '../abi/elfnote.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import type { ElfImage } from './elf.js'
import type { XenParams } from './xen-params.js'

/** @throws DomainBuilderError for damage in the header table itself, or `truncated` for a missing needed section. */
export function checkNeededSections(elf: ElfImage, params: XenParams | undefined): void {
  if (elf.sectionFault !== undefined) throw elf.sectionFault
  if (params?.source === 'PT_NOTE') return
  const lost = elf.outsideSections.find(({ type, name }) => type === SHT_NOTE || name === XEN_GUEST_SECTION)
  if (lost === undefined) return
  throw new DomainBuilderError('truncated', 'a section of notes lies outside the file', {
    expected: `sh_offset + sh_size at most ${hex(elf.bytes.length)}`,
    found: `${hex(lost.offset)} + ${hex(lost.size)}`,
    offset: lost.headerOffset,
  })
}
