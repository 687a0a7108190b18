/**
 * Whether an ELF says that it is Linux, and if not, the most telling thing that it says instead.
 *
 * Source: Linux include/linux/elfnote-lto.h and init/version.c (notes of owner Linux, since 4.19);
 * include/asm-generic/vmlinux.lds.h (section names); lib/abi/multiboot.ts.
 * Gotcha: most ELFs are no kernels, and any ELF could be entered like a vmlinux. Only these signs tell it from others.
 */
import { PT_DYNAMIC, PT_INTERP } from '../abi/elf.js'
import { LINUX_GUEST_OS } from '../abi/elfnote.js'
import type { Kernel } from './kernel.js'
import { multibootName } from './multiboot.js'

/** The owner of Linux's own notes. The vDSO has them too, but it is linked dynamically. */
const LINUX_NOTE_OWNER = 'Linux'
/** Sections of every vmlinux since 2.2, 2.4 and 2.6: fault fixups, exported symbols, parameters. */
const LINUX_SECTIONS: readonly string[] = ['__ex_table', '__ksymtab', '__param']

/** Returns the sign of another kind of file, in a few words; undefined if the file says that it is Linux. */
export function foreignSign({ elf, linux, xen, notes }: Kernel): string | undefined {
  // The payload of a bzImage is Linux by the header around it.
  if (linux !== undefined || elf === undefined) return undefined
  if (xen?.guestOs !== undefined) {
    return xen.guestOs.startsWith(LINUX_GUEST_OS) ? undefined : `GUEST_OS '${xen.guestOs.slice(0, 64)}'`
  }
  if (elf.segments.some(({ type }) => type === PT_INTERP)) return 'PT_INTERP, as programs have'
  if (elf.segments.some(({ type }) => type === PT_DYNAMIC)) return 'PT_DYNAMIC, as programs and libraries have'
  if (notes.some(({ owner }) => owner === LINUX_NOTE_OWNER)) return undefined
  if (elf.sections.some(({ name }) => LINUX_SECTIONS.includes(name))) return undefined
  const multiboot = multibootName(elf.bytes)
  return multiboot === undefined ? 'no note or section of Linux' : `a ${multiboot} header`
}
