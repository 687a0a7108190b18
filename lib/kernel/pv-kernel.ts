/**
 * Whether a kernel can be a Xen PV guest, and its place in memory: defaults and checks of a PV kernel's claims.
 *
 * Source: xen/include/public/elfnote.h; confirmed against libxenguest.
 * Gotcha: p_vaddr is not used. A segment lies at p_paddr + (VIRT_BASE - PADDR_OFFSET): p != v.
 */
import { EM_386, EM_X86_64 } from '../abi/elf.js'
import { GENERIC_LOADER, LINUX_GUEST_OS, XEN_VERSION_3 } from '../abi/elfnote.js'
import { X86_32_VADDR_BITS, X86_64_VADDR_BITS } from '../abi/x86.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logKernel } from '../log.js'
import { hex, PAGE_SIZE, showRange, showSize, u64, type Vaddr } from '../units.js'
import { type BsdSymtab, bsdSymtab } from './bsd-symtab.js'
import { checkDamage } from './damage.js'
import { type ElfImage, loadable, physicalExtent } from './elf.js'
import type { Kernel } from './kernel.js'
import { checkRequired, type GuestKernelOptions, requires } from './required-features.js'
import type { XenParams } from './xen-params.js'

export type PvAbi = 'x86_64' | 'x86_32p'

/** A kernel that can be started as a PV guest, with checked claims and defaults filled in. */
export interface PvKernel {
  readonly abi: PvAbi
  readonly elf: ElfImage
  readonly params: XenParams
  readonly virtBase: Vaddr
  readonly paddrOffset: bigint
  /** virtBase - paddrOffset, mod 2^64: p_paddr plus this is the virtual address. */
  readonly virtOffset: bigint
  /** Lowest and highest (exclusive) p_paddr of the loadable segments. */
  readonly pstart: bigint
  readonly pend: bigint
  /** The image's virtual range, half-open, its symbol table included; vstart >= virtBase. */
  readonly vstart: Vaddr
  readonly vend: Vaddr
  readonly entry: Vaddr
  /** INIT_P2M if it is usable (64-bit, page aligned, below virtBase), else absent. */
  readonly initP2m?: Vaddr
  /** The symbol table after the segments, if BSD_SYMTAB requests it and the file has one. */
  readonly symtab?: BsdSymtab
}

/**
 * Returns a kernel as a PV guest, or throws the one cause why it cannot be one.
 * @throws DomainBuilderError `not-xen-pv`, `unknown-feature`, `unsupported-feature`, `wrong-layout`, and the codes of
 * damage in the file.
 */
export function pvKernel(kernel: Kernel, options: GuestKernelOptions = {}): PvKernel {
  checkDamage(kernel)
  const { elf, xen: params } = kernel
  if (elf === undefined) throw notPv(`the ${kernel.container} holds no ELF`)
  if (params === undefined) throw notPv('the ELF has neither Xen notes nor a __xen_guest section')
  checkNotes(params)
  checkFeatures(params, options)
  const abi = guestAbi(elf, params)
  return { abi, elf, params, ...checkLayout(abi, elf, params) }
}

function notPv(message: string, expected?: string, found?: string): DomainBuilderError {
  return new DomainBuilderError('not-xen-pv', message, defined({ expected, found }))
}

const quoted = (text: string | undefined): string => (text === undefined ? 'none' : `'${text.slice(0, 64)}'`)

/** Checks that the kernel is made for Xen, and for an interface that Xen still has. */
function checkNotes({ loader, guestOs, xenVersion, physEntry }: XenParams): void {
  if (!loader?.startsWith(GENERIC_LOADER) && !guestOs?.startsWith(LINUX_GUEST_OS)) {
    if (loader === undefined && guestOs === undefined && physEntry !== undefined) {
      throw notPv('the kernel is for PVH only: it has PHYS32_ENTRY, but neither LOADER nor GUEST_OS')
    }
    throw notPv(
      'the kernel asks for a loader that Xen does not have',
      `LOADER '${GENERIC_LOADER}' or GUEST_OS '${LINUX_GUEST_OS}'`,
      `LOADER ${quoted(loader)}, GUEST_OS ${quoted(guestOs)}`,
    )
  }
  if (!xenVersion?.startsWith(XEN_VERSION_3)) {
    throw notPv('the kernel is for another version of Xen', `XEN_VERSION '${XEN_VERSION_3}'`, quoted(xenVersion))
  }
}

function checkFeatures(params: XenParams, options: GuestKernelOptions): void {
  checkRequired(params, options)
  if (requires(params, 'auto_translated_physmap')) {
    throw new DomainBuilderError(
      'unsupported-feature',
      'the kernel requires auto-translation, which Xen no longer supports',
      {
        found: "FEATURES '!auto_translated_physmap'",
      },
    )
  }
}

function guestAbi({ machine }: ElfImage, { pae, source }: XenParams): PvAbi {
  if (machine === EM_X86_64) return 'x86_64'
  if (machine !== EM_386) {
    throw notPv('the kernel is for another processor', `e_machine ${EM_386} or ${EM_X86_64}`, `${machine}`)
  }
  if (pae === 'no') {
    const key = source === '__xen_guest' ? 'PAE=yes' : "a PAE_MODE of 'yes' or 'bimodal'"
    throw notPv('the kernel is 32-bit without PAE, which Xen no longer runs', key, 'neither')
  }
  return 'x86_32p'
}

type PvLayout = Omit<PvKernel, 'abi' | 'elf' | 'params'>

function wrongLayout(message: string, expected: string, found: string): DomainBuilderError {
  return new DomainBuilderError('wrong-layout', message, { expected, found })
}

function checkLayout(abi: PvAbi, elf: ElfImage, params: XenParams): PvLayout {
  const extent = physicalExtent(elf)
  if (extent === undefined) throw wrongLayout('no segment of the kernel is loadable', 'a PT_LOAD', 'none')
  if (params.paddrOffset !== undefined && params.virtBase === undefined) {
    throw wrongLayout('PADDR_OFFSET is given without VIRT_BASE', 'both or neither', hex(params.paddrOffset))
  }
  const virtBase = params.virtBase ?? 0n
  const paddrOffset = params.paddrOffset ?? (params.source === '__xen_guest' ? virtBase : 0n)
  const virtOffset = u64(virtBase - paddrOffset)
  const symtab = params.bsdSymtab ? bsdSymtab(elf, extent) : undefined
  const image = {
    start: u64(extent.pstart + virtOffset),
    end: u64((symtab?.pend ?? extent.pend) + virtOffset),
  }
  const { start: vstart, end: vend } = image
  const entry = params.entry ?? elf.entry
  const vbits = abi === 'x86_64' ? X86_64_VADDR_BITS : X86_32_VADDR_BITS

  if (vstart > vend) throw wrongLayout('the image wraps around the address space', 'start <= end', showRange(image))
  if (extent.pstart === extent.pend) {
    throw wrongLayout('the image is empty', 'a segment with a byte in memory', showRange(image))
  }
  if (abi === 'x86_32p' && vend > 1n << BigInt(vbits)) {
    throw wrongLayout('the image lies above a 32-bit address space', 'an end of at most 4 GiB', showRange(image))
  }
  // The end itself is allowed: Xen's rule.
  if (entry < vstart || entry > vend) {
    throw wrongLayout('the entry is outside of the image', showRange(image), hex(entry))
  }
  if (virtBase > vstart) throw wrongLayout('the image begins below VIRT_BASE', hex(virtBase), hex(vstart))
  if (vstart % BigInt(PAGE_SIZE) !== 0n || virtBase % BigInt(PAGE_SIZE) !== 0n) {
    throw wrongLayout('the image is not page aligned', 'VIRT_BASE and image page aligned', hex(vstart))
  }
  // The page tables map all of it, from VIRT_BASE on. A 32-bit image is within its 4 GiB.
  const size = vend - virtBase
  if (size > 1n << BigInt(vbits)) {
    throw wrongLayout(
      'the image, which counts from VIRT_BASE, is larger than the address space',
      `at most ${showSize(2 ** vbits)}`,
      showSize(Number(size)),
    )
  }
  // As in Xen's loader, each byte of the image's pages may be written twice: overlapping segments could take for ever.
  const written = loadable(elf).reduce((sum, { memsz }) => sum + memsz, 0n)
  const room = ((vend - vstart + BigInt(PAGE_SIZE) - 1n) / BigInt(PAGE_SIZE)) * BigInt(PAGE_SIZE)
  if (written > 2n * room) {
    throw wrongLayout('the segments overlap too much', `at most twice ${hex(room)} bytes`, hex(written))
  }
  const initP2m = checkInitP2m(params.initP2m, abi, { ...image, virtBase, vbits })
  logKernel('PV %s at %s, entry %s', abi, showRange(image), hex(entry))
  return {
    virtBase,
    paddrOffset,
    virtOffset,
    ...extent,
    vstart,
    vend,
    entry,
    ...defined({ initP2m, symtab }),
  }
}

/** The address at which to map the p2m; undefined if Xen ignores INIT_P2M. */
function checkInitP2m(
  initP2m: bigint | undefined,
  abi: PvAbi,
  image: { readonly start: Vaddr; readonly end: Vaddr; readonly virtBase: Vaddr; readonly vbits: number },
): Vaddr | undefined {
  if (initP2m === undefined) return undefined
  if (initP2m >= image.start && initP2m < image.end) {
    throw wrongLayout('INIT_P2M is inside of the image', `outside of ${showRange(image)}`, hex(initP2m))
  }
  if (abi !== 'x86_64' || initP2m % BigInt(PAGE_SIZE) !== 0n || initP2m >= image.virtBase) return undefined
  // Tables translate only the low 48 bits, so addresses that differ above them are the same. Xen does not check that.
  const masked = { start: BigInt.asUintN(image.vbits, image.start), end: BigInt.asUintN(image.vbits, image.end) }
  const place = BigInt.asUintN(image.vbits, initP2m)
  if (place >= masked.start && place < masked.end) {
    throw wrongLayout('INIT_P2M is inside of the image', `outside of ${showRange(masked)}`, hex(initP2m))
  }
  return initP2m
}
