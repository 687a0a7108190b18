/**
 * loadSegments: a kernel's segments into guest memory, without copying them.
 *
 * Source: the System V ABI, chapter 5; Xen's elf_load_binary does the same in the same order.
 * Gotcha: segments load in file order: a later segment covers an earlier one, its bss included. Symbols, if wanted,
 * come last.
 */
import type { GuestMemory } from '../guest/memory.js'
import type { BsdSymtab } from '../kernel/bsd-symtab.js'
import { type ElfImage, loadable } from '../kernel/elf.js'
import type { Paddr } from '../units.js'

/** @param where returns the guest-physical address of a p_paddr. */
export function loadSegments(
  memory: GuestMemory,
  { elf, symtab }: { readonly elf: ElfImage; readonly symtab?: BsdSymtab },
  where: (paddr: bigint) => Paddr,
): void {
  for (const segment of loadable(elf)) {
    const paddr = where(segment.paddr)
    memory.clear(paddr, Number(segment.memsz))
    memory.place(paddr, elf.bytes.subarray(segment.offset, segment.offset + segment.filesz))
  }
  if (!symtab) return
  const start = where(symtab.pstart)
  for (const { offset, bytes } of symtab.pieces) memory.place(start + offset, bytes)
}
