/**
 * Whether a kernel can be entered by the Linux boot protocol, where, and with which limits.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: a header only claims entries; nothing proves that there is code at them. An ELF claims nothing at all: as a
 * vmlinux it is entered at e_entry, a physical address, with the registers of the 32-bit or 64-bit entry by its class.
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
import { LINUX_GUEST_OS } from '../abi/elfnote.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { hex, PADDR_MAX, type Paddr, type Range, showRange } from '../units.js'
import type { BzImage } from './bzimage.js'
import { type ElfImage, loadable, physicalExtent } from './elf.js'
import type { Kernel } from './kernel.js'
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
  /** Whether the file says that it is Linux: by a note of owner Linux, GUEST_OS, or the bzImage around it. */
  readonly saysLinux: boolean
}

/** A kernel's image, its vmlinux, or both. */
interface LinuxKernel {
  readonly image?: LinuxImage
  readonly vmlinux?: Vmlinux
}

/** The owner of Linux's own notes. */
const LINUX_NOTE_OWNER = 'Linux'

/**
 * Returns a kernel for the Linux boot protocol, or throws the one cause why it cannot be entered that way.
 * @throws DomainBuilderError `not-linux` or `wrong-layout`.
 */
export function linuxKernel(kernel: Kernel): LinuxKernel {
  const { linux } = kernel
  const image = linux === undefined ? undefined : linuxImage(linux, linux.bytes)
  if (image === undefined) return { vmlinux: vmlinux(kernel) }
  try {
    return { image, ...defined({ vmlinux: kernel.elf && vmlinux(kernel) }) }
  } catch (error) {
    // The image boots by its own code, even if its ELF is unusable.
    if (error instanceof DomainBuilderError) return { image }
    throw error
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

function vmlinux({ elf, linux, xen, notes }: Kernel): Vmlinux {
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
  if (xen?.guestOs !== undefined && !xen.guestOs.startsWith(LINUX_GUEST_OS)) {
    throw new DomainBuilderError('not-linux', 'the kernel is for another system', {
      expected: `GUEST_OS '${LINUX_GUEST_OS}' or none`,
      found: `'${xen.guestOs.slice(0, 64)}'`,
    })
  }
  const extent = physicalExtent(elf)
  if (extent === undefined) {
    throw new DomainBuilderError('wrong-layout', 'no segment of the kernel is loadable', { expected: 'a PT_LOAD' })
  }
  const image = { start: Number(extent.pstart), end: Number(extent.pend) }
  const covered = loadable(elf).some(({ paddr, memsz }) => elf.entry >= paddr && elf.entry < paddr + memsz)
  if (!covered || image.end > PADDR_MAX) {
    throw new DomainBuilderError('wrong-layout', 'e_entry is not a physical address within a segment', {
      expected: showRange({ start: extent.pstart, end: extent.pend }),
      found: hex(elf.entry),
    })
  }
  const relocs = linux === undefined ? undefined : relocationTable(elf)
  return {
    elf,
    entryMode: elf.class,
    entry: Number(elf.entry),
    image,
    anywhere: elf.type === ET_DYN,
    ...defined({ relocs }),
    saysLinux:
      linux !== undefined || xen?.guestOs !== undefined || notes.some(({ owner }) => owner === LINUX_NOTE_OWNER),
  }
}

/** The relocation table after the ELF; undefined without a valid one, as in kernels that are not relocatable. */
function relocationTable(elf: ElfImage): Relocs | undefined {
  const { relocs } = splitPayload(elf)
  if (relocs === undefined) return undefined
  try {
    return parseRelocs(relocs, elf.class)
  } catch (error) {
    if (error instanceof DomainBuilderError) return undefined
    throw error
  }
}

const isPowerOfTwo = (value: number): boolean => value > 0 && 2 ** Math.round(Math.log2(value)) === value
