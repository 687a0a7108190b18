/**
 * Whether a kernel can be a PVH guest: entered by PHYS32_ENTRY, without paging, at its physical addresses.
 *
 * Source: xen/include/public/elfnote.h, PHYS32_ENTRY and PHYS32_RELOC; docs/misc/pvh.pandoc; confirmed against
 * libxenguest.
 * Gotcha: the checks of a PV kernel would refuse valid ones: one note is enough. LOADER, GUEST_OS and XEN_VERSION are
 * not required, VIRT_BASE and PADDR_OFFSET are ignored, and the entry need not be near the start of the image.
 */
import { EM_386, EM_X86_64 } from '../abi/elf.js'
import { PHYS_RELOC_DEFAULT_ALIGN } from '../abi/elfnote.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logKernel } from '../log.js'
import { hex, PAGE_SIZE, type Paddr, type Range, showRange } from '../units.js'
import { type BsdSymtab, bsdSymtab } from './bsd-symtab.js'
import { checkDamage } from './damage.js'
import { type ElfImage, loadable, physicalExtent } from './elf.js'
import type { Kernel } from './kernel.js'
import { checkRequired, type GuestKernelOptions } from './required-features.js'
import type { XenParams } from './xen-params.js'

/** A kernel that can be started as a PVH guest. */
export interface PvhKernel {
  readonly elf: ElfImage
  readonly params: XenParams
  readonly entry: Paddr
  /** The range of the segments and the symbol table, half-open; all below 4 GiB. */
  readonly image: Range<Paddr>
  /** Present if the kernel may be moved, with defaults filled in. */
  readonly reloc?: {
    /** The alignment of the image's start, in bytes: a power of two. */
    readonly align: number
    /** The range in which the image must lie, half-open. */
    readonly within: Range<Paddr>
  }
  readonly symtab?: BsdSymtab
}

/** The end of the memory that 32-bit code without paging reaches. */
const LIMIT = 2 ** 32

function wrongLayout(message: string, expected: string, found: string): DomainBuilderError {
  return new DomainBuilderError('wrong-layout', message, { expected, found })
}

/**
 * Returns a kernel as a PVH guest, or throws the one cause why it cannot be one.
 * @throws DomainBuilderError `not-pvh`, `unknown-feature`, `unsupported-feature`, `wrong-layout`, and the codes of
 * damage in the file.
 */
export function pvhKernel(kernel: Kernel, options: GuestKernelOptions = {}): PvhKernel {
  checkDamage(kernel)
  const { elf, xen: params } = kernel
  if (elf === undefined) throw new DomainBuilderError('not-pvh', `the ${kernel.container} holds no ELF`)
  if (params === undefined) throw new DomainBuilderError('not-pvh', 'the ELF has no Xen note, so no PHYS32_ENTRY')
  if (params.source !== '__xen_guest') checkRequired(params, options)
  const { physEntry: entry } = params
  if (entry === undefined) {
    const has = params.source === '__xen_guest' ? 'a __xen_guest section alone' : 'other Xen notes'
    throw new DomainBuilderError('not-pvh', 'the kernel has no PVH entry', {
      expected: 'note PHYS32_ENTRY',
      found: has,
    })
  }
  if (elf.machine !== EM_386 && elf.machine !== EM_X86_64) {
    throw new DomainBuilderError('not-pvh', 'the kernel is for another processor', {
      expected: `e_machine ${EM_386} or ${EM_X86_64}`,
      found: `${elf.machine}`,
    })
  }
  const extent = physicalExtent(elf)
  if (extent === undefined) throw wrongLayout('no segment of the kernel is loadable', 'a PT_LOAD', 'none')
  if (extent.pstart === extent.pend)
    throw wrongLayout('the image is empty', 'a segment with a byte in memory', hex(extent.pstart))
  const symtab = params.bsdSymtab ? bsdSymtab(elf, extent) : undefined
  const { pstart } = extent
  const pend = symtab?.pend ?? extent.pend
  if (pend > BigInt(LIMIT)) {
    throw wrongLayout('the image lies above 4 GiB, out of reach of its entry', hex(LIMIT), hex(pend))
  }
  const image = { start: Number(pstart), end: Number(pend) }
  // The end itself is allowed: Xen's rule.
  if (entry < image.start || entry > image.end) {
    throw wrongLayout('PHYS32_ENTRY is outside of the image', showRange(image), hex(entry))
  }
  // Xen compares this one unchanged, although it is a virtual address.
  if (params.initP2m !== undefined && params.initP2m >= pstart && params.initP2m < pend) {
    throw wrongLayout('INIT_P2M is inside of the image', `outside of ${showRange(image)}`, hex(params.initP2m))
  }
  const reloc = relocation(elf, params)
  logKernel('PVH at %s, entry %s', showRange(image), hex(entry))
  return { elf, params, entry, image, ...defined({ reloc, symtab }) }
}

function relocation(elf: ElfImage, { physReloc }: XenParams): PvhKernel['reloc'] {
  if (physReloc === undefined) return undefined
  const largest = loadable(elf).reduce((max, { align }) => Math.max(max, Number(align)), 0)
  const align = physReloc.align ?? (largest >= PAGE_SIZE ? largest : PHYS_RELOC_DEFAULT_ALIGN)
  if (align === 0 || 2 ** Math.round(Math.log2(align)) !== align) {
    throw new DomainBuilderError('bad-note', 'the alignment of PHYS32_RELOC or of the segments is invalid', {
      expected: 'a power of two',
      found: hex(align),
    })
  }
  return { align, within: { start: physReloc.min ?? 0, end: (physReloc.max ?? LIMIT - 1) + 1 } }
}
