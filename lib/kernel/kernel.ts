/**
 * readKernel: sniff, unwrap, parse. One call from the bytes of any kernel file to what it says.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, the System V ABI, xen/include/public/elfnote.h.
 * Gotcha: names lie (a vmlinux.bin may be a bzImage): only the content decides.
 */
import { createHash } from 'node:crypto'
import { DomainBuilderError } from '../errors.js'
import { logKernel } from '../log.js'
import { hex } from '../units.js'
import { type ElfImage, isElf, parseElf } from './elf.js'
import { lookalike } from './lookalike.js'
import { type ElfNote, readNotes } from './notes.js'
import { type XenParams, xenParams } from './xen-params.js'

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

/**
 * What a kernel file says. The result looks into `bytes`, which must not change afterwards.
 * @throws DomainBuilderError naming the one cause, for every input that is no sound kernel.
 */
export async function readKernel(bytes: Uint8Array): Promise<Kernel> {
  if (!(bytes instanceof Uint8Array)) {
    throw new DomainBuilderError('bad-config', 'a kernel is given as bytes', {
      expected: 'a Uint8Array',
      found: typeof bytes,
    })
  }
  if (!isElf(bytes)) {
    throw new DomainBuilderError('not-a-kernel', `the file is no kernel, it looks like ${lookalike(bytes)}`, {
      expected: 'an ELF',
    })
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const elf = parseElf(bytes)
  logKernel('ELF%d, e_machine %d, e_entry %s, %d segments', elf.class, elf.machine, hex(elf.entry), elf.segments.length)
  const notes = readNotes(elf)
  const xen = xenParams(elf, notes)
  return { container: 'elf', sha256, elf, notes, ...(xen === undefined ? {} : { xen }) }
}
