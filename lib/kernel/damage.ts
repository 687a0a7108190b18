/**
 * Damage that keeps Xen from starting a kernel: in the file, in its Xen notes, or in sections that hold its claims.
 *
 * Source: xen/include/public/elfnote.h: segments first, SHT_NOTE sections without them, __xen_guest without those.
 * Gotcha: damage in all other sections is ignored. A kernel with its notes in a segment needs no section, yet Xen
 * refuses it if the section table is truncated.
 */
import { SHT_NOTE } from '../abi/elf.js'
import { XEN_GUEST_SECTION } from '../abi/elfnote.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import type { Kernel } from './kernel.js'

/** @throws DomainBuilderError for damage in the file or its Xen notes, or `truncated` for a missing needed section. */
export function checkDamage({ fault, xenFault, elf, xen }: Kernel): void {
  const damage = fault ?? xenFault ?? elf?.sectionFault
  if (damage !== undefined) throw damage
  if (elf === undefined || xen?.source === 'PT_NOTE') return
  const lost = elf.outsideSections.find(({ type, name }) => type === SHT_NOTE || name === XEN_GUEST_SECTION)
  if (lost === undefined) return
  throw new DomainBuilderError('truncated', 'a section of notes lies outside the file', {
    expected: `sh_offset + sh_size at most ${hex(elf.bytes.length)}`,
    found: `${hex(lost.offset)} + ${hex(lost.size)}`,
    offset: lost.headerOffset,
  })
}
