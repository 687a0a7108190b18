/**
 * Sections that a kernel's claims are read from have to be in the file; the damage of all others is nobody's business.
 *
 * Source: xen/include/public/elfnote.h: segments first, SHT_NOTE sections without them, __xen_guest without those.
 * Gotcha: a kernel whose notes are in a segment needs no section at all, but Xen refuses it where the table was cut off.
 */
import { SHT_NOTE } from '../abi/elf.js'
import { XEN_GUEST_SECTION } from '../abi/elfnote.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import type { ElfImage } from './elf.js'
import type { XenParams } from './xen-params.js'

/** @throws DomainBuilderError of the header table's own damage, or `truncated` for a section that is needed. */
export function checkNeededSections(elf: ElfImage, params: XenParams | undefined): void {
  if (elf.sectionFault !== undefined) throw elf.sectionFault
  if (params?.source === 'PT_NOTE') return
  const lost = elf.outsideSections.find(({ type, name }) => type === SHT_NOTE || name === XEN_GUEST_SECTION)
  if (lost === undefined) return
  throw new DomainBuilderError('truncated', 'a section of notes is not in the file', {
    expected: `sh_offset + sh_size at most ${hex(elf.bytes.length)}`,
    found: `${hex(lost.offset)} + ${hex(lost.size)}`,
    offset: lost.headerOffset,
  })
}
