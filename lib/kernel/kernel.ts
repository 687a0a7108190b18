/**
 * readKernel: sniff, unwrap, parse. One call from the bytes of any kernel file to what it says.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, the System V ABI, xen/include/public/elfnote.h.
 * Gotcha: names lie (a vmlinux.bin may be a bzImage): only the content decides.
 */
import type { ElfImage } from './elf.js'
import type { ElfNote } from './notes.js'
import type { XenParams } from './xen-params.js'

export interface Kernel {
  /** The outermost thing the file is. */
  readonly container: 'elf' | 'gzip' | 'bzImage'
  /** How the payload (of a bzImage) or the file (gzip) was compressed. */
  readonly codec?: string
  /** sha256 of the file as it was given, hex. */
  readonly sha256: string
  /** Absent where a bzImage holds no ELF (memtest86+, iPXE). */
  readonly elf?: ElfImage
  readonly notes: readonly ElfNote[]
  readonly xen?: XenParams
}
