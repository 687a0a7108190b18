/**
 * Whether a kernel can be entered by the Linux boot protocol, where, and with which limits.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: a header only claims entries; nothing proves that there is code at them. An ELF claims nothing at all: as a
 * vmlinux it is entered at e_entry, a physical address, with the registers of the 32-bit or 64-bit entry by its class.
 * So an ELF without a sign of Linux is one only for a caller who asked for type linux by name.
 */
import {
  DEFAULT_CMDLINE_SIZE,
  DEFAULT_INITRD_ADDR_MAX,
  ENTRY_64_OFFSET,
  LOAD_HIGH_ADDRESS,
  XLF_CAN_BE_LOADED_ABOVE_4G,
  XLF_KERNEL_64,
} from '../abi/boot-params.js'
import { EM_386, EM_X86_64, ET_DYN, ET_EXEC } from '../abi/elf.js'
import { DEVICE_HOLE, LOW_HOLE } from '../abi/pc.js'
import { defined } from '../defined.js'
import { DomainBuilderError, refusalOf } from '../errors.js'
import { hex, overlaps, PADDR_MAX, type Paddr, type Range, showRange, showRanges } from '../units.js'
import type { BzImage } from './bzimage.js'
import { type ElfImage, loadable, physicalExtent } from './elf.js'
import type { Kernel } from './kernel.js'
import { foreignSign } from './linux-signs.js'
import { parseRelocs, type Relocs } from './relocs.js'
import { splitPayload } from './unwrap.js'

/** The entries of the boot protocol, by processor mode. */
export type LinuxEntry = 16 | 32 | 64

/** A bzImage, from its header. */
export interface LinuxImage {
  readonly bzImage: BzImage
  /** Boot sector and setup code, and the protected-mode code to load. Views of the file. */
  readonly setup: Uint8Array
  readonly code: Uint8Array
  /** The entries that the header claims, best first. */
  readonly entries: readonly LinuxEntry[]
  /** The default entry: the best claim, or the setup code where the header names no code for the others. */
  readonly best: LinuxEntry
  /** Whether a hook can stop the kernel on its way: the header names code for the 32-bit entry. */
  readonly hookable: boolean
  /** The load address of the code; the only one unless it is relocatable. */
  readonly address: Paddr
  /** The address at which it runs: the load address, except for an image that moves itself to its pref_address. */
  readonly runsAt: Paddr
  /** Absent if the image is not relocatable. */
  readonly reloc?: { readonly align: number; readonly minAlign: number; readonly above4G: boolean }
  /** Bytes from `runsAt` on that the kernel uses before it reads the memory map; absent before 2.10. */
  readonly initSize?: number
  /** The longest command line in bytes, without its NUL. */
  readonly cmdlineSize: number
  /** The highest address of a byte of the ramdisk. */
  readonly initrdAddrMax: number
}

/** An ELF that is entered like a vmlinux. */
export interface Vmlinux {
  readonly elf: ElfImage
  /** By the class: an ELF32 in 32-bit mode, an ELF64 in 64-bit mode. */
  readonly entryMode: 32 | 64
  /** Physical address of the entry. */
  readonly entry: Paddr
  readonly image: Range<Paddr>
  /** ET_DYN, position independent: runs at any address unchanged. */
  readonly anywhere: boolean
  /** The table by which a loader may move it. */
  readonly relocs?: Relocs
  /** The sign of another kind of file, in a few words; absent if the file says that it is Linux. */
  readonly foreign?: string
}

/** A kernel's image, its vmlinux, or both. */
interface LinuxKernel {
  readonly image?: LinuxImage
  readonly vmlinux?: Vmlinux
}

/** How a caller came to type linux. */
export interface LinuxKernelOptions {
  /** Whether it was asked for by name: then an ELF needs no sign of Linux. */
  readonly byName: boolean
}

/**
 * Returns a kernel for the Linux boot protocol, or throws the one cause why it cannot be entered that way.
 * @throws DomainBuilderError `not-linux` or `wrong-layout`; the code of damage in the file.
 */
export function linuxKernel(kernel: Kernel, options: LinuxKernelOptions): LinuxKernel {
  const { linux, fault } = kernel
  if (fault !== undefined) throw fault
  const image = linux === undefined ? undefined : linuxImage(linux, linux.bytes)
  if (image === undefined) return { vmlinux: vmlinux(kernel, options) }
  try {
    return { image, ...defined({ vmlinux: kernel.elf && vmlinux(kernel, options) }) }
  } catch (error) {
    // The image boots by its own code, even if its ELF is unusable.
    refusalOf(error)
    return { image }
  }
}

function linuxImage(bzImage: BzImage, bytes: Uint8Array): LinuxImage {
  const fields = bzImage.header
  const code = bytes.subarray(bzImage.setupBytes)
  const claims64 = ((fields.xloadflags ?? 0) & XLF_KERNEL_64) !== 0
  const entries: LinuxEntry[] = []
  if (claims64 && code.length > ENTRY_64_OFFSET) entries.push(64)
  // Some images (iPXE) only start through their setup code; they have no 32-bit address.
  if (fields.code32_start !== 0) entries.push(32)
  entries.push(16)
  const [best = 16] = bzImage.noCode ? [] : entries
  const align = fields.kernel_alignment ?? 0
  const relocatable = (fields.relocatable_kernel ?? 0) !== 0
  if (relocatable && !isPowerOfTwo(align)) {
    throw new DomainBuilderError('bad-bzimage', 'the alignment of a relocatable kernel is invalid', {
      expected: 'kernel_alignment a power of two',
      found: hex(align),
    })
  }
  const preferred = preferredAddress(fields.pref_address)
  const minAlign = fields.min_alignment === undefined ? align : Math.min(align, 2 ** fields.min_alignment)
  const above4G = ((fields.xloadflags ?? 0) & XLF_CAN_BE_LOADED_ABOVE_4G) !== 0
  return {
    bzImage,
    setup: bytes.subarray(0, bzImage.setupBytes),
    code,
    entries,
    best,
    hookable: fields.code32_start !== 0 && !bzImage.noCode,
    address: relocatable ? preferred : LOAD_HIGH_ADDRESS,
    runsAt: preferred,
    ...defined({ reloc: relocatable ? { align, minAlign, above4G } : undefined, initSize: fields.init_size }),
    cmdlineSize: fields.cmdline_size ?? DEFAULT_CMDLINE_SIZE,
    initrdAddrMax: fields.initrd_addr_max ?? DEFAULT_INITRD_ADDR_MAX,
  }
}

function preferredAddress(preferred: bigint | undefined): Paddr {
  if (preferred === undefined || preferred === 0n) return LOAD_HIGH_ADDRESS
  if (preferred > BigInt(PADDR_MAX)) {
    throw new DomainBuilderError('bad-bzimage', 'pref_address is too large', {
      expected: `at most ${hex(PADDR_MAX)}`,
      found: hex(preferred),
    })
  }
  return Number(preferred)
}

function vmlinux(kernel: Kernel, { byName }: LinuxKernelOptions): Vmlinux {
  const { elf, linux } = kernel
  if (elf === undefined) throw new DomainBuilderError('not-linux', 'the file holds neither a setup header nor an ELF')
  if (elf.machine !== EM_386 && elf.machine !== EM_X86_64) {
    throw new DomainBuilderError('not-linux', 'the ELF is for another processor', {
      expected: `e_machine ${EM_386} or ${EM_X86_64}`,
      found: `${elf.machine}`,
    })
  }
  if (elf.type !== ET_EXEC && elf.type !== ET_DYN) {
    throw new DomainBuilderError('not-linux', 'the ELF is not an executable', {
      expected: `e_type ${ET_EXEC} or ${ET_DYN}`,
      found: `${elf.type}`,
    })
  }
  const foreign = foreignSign(kernel)
  if (foreign !== undefined && !byName) {
    throw new DomainBuilderError('not-linux', 'the file does not say that it is Linux', {
      expected: 'a sign of Linux, or type linux by name',
      found: foreign,
    })
  }
  const extent = physicalExtent(elf)
  if (extent === undefined) {
    throw new DomainBuilderError('wrong-layout', 'no segment of the kernel is loadable', { expected: 'a PT_LOAD' })
  }
  const image = { start: Number(extent.pstart), end: Number(extent.pend) }
  const relocs = linux === undefined ? undefined : relocationTable(elf)
  const anywhere = elf.type === ET_DYN
  const inHole = !anywhere && relocs === undefined && [LOW_HOLE, DEVICE_HOLE].some((hole) => overlaps(image, hole))
  if (inHole || extent.pend > BigInt(PADDR_MAX)) {
    throw new DomainBuilderError('wrong-layout', 'the segments lie where no RAM can be: p_paddr may be virtual', {
      expected: `none of ${showRanges([LOW_HOLE, DEVICE_HOLE])}, an end of at most ${hex(PADDR_MAX)}`,
      found: showRange({ start: extent.pstart, end: extent.pend }),
    })
  }
  const covered = loadable(elf).some(({ paddr, memsz }) => elf.entry >= paddr && elf.entry < paddr + memsz)
  if (!covered) {
    throw new DomainBuilderError('wrong-layout', 'e_entry is not a physical address within a segment', {
      expected: showRange({ start: extent.pstart, end: extent.pend }),
      found: hex(elf.entry),
    })
  }
  return {
    elf,
    entryMode: elf.class,
    entry: Number(elf.entry),
    image,
    anywhere,
    ...defined({ relocs, foreign }),
  }
}

/** The relocation table after the ELF; undefined without a valid one, as in kernels that are not relocatable. */
function relocationTable(elf: ElfImage): Relocs | undefined {
  const { relocs } = splitPayload(elf)
  if (relocs === undefined) return undefined
  try {
    return parseRelocs(relocs, elf.class)
  } catch (error) {
    refusalOf(error)
    return undefined
  }
}

const isPowerOfTwo = (value: number): boolean => value > 0 && 2 ** Math.round(Math.log2(value)) === value
