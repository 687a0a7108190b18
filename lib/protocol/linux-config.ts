/**
 * What a guest of the Linux boot protocol is given besides the common words, checked.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html); the words are the command
 * line's.
 * Gotcha: an address that is given is taken or refused, never moved: only what is left open is placed.
 */
import { HARDWARE_SUBARCH, PARAGRAPH_SIZE, SETUP_DATA_TYPE } from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import { CRASH_LOW_MEMORY, DEVICE_HOLE, type MemoryMap, pcMemoryMap } from '../guest/memory-map.js'
import { checkedInteger, hex, overlaps, PADDR_MAX, type Paddr, type Range, shown } from '../units.js'
import type { CommonConfig, CommonOptions } from './common-config.js'
import {
  badConfig,
  checkedArray,
  checkedBoolean,
  checkedBytes,
  checkedChoice,
  checkedObject,
  checkedPageRange,
  checkedRange,
  checkedRanges,
  type KeysOf,
  keysOf,
  optional,
  type Words,
} from './config-values.js'
import type { Module } from './modules.js'

const SUBARCHES = { pc: HARDWARE_SUBARCH.PC, lguest: HARDWARE_SUBARCH.LGUEST, xen: HARDWARE_SUBARCH.XEN } as const
/** hardware_subarch of boot_params, by name. */
export type Subarch = keyof typeof SUBARCHES
const RINGS = [0, 1, 3] as const
/** Privilege level at which a guest is entered. */
export type Ring = (typeof RINGS)[number]

/** A node of the chain that boot_params.setup_data begins. */
export interface SetupDataNode {
  /** SETUP_* */
  readonly type: number
  /** The node's own bytes, without the header that leads to the next; not copied. */
  readonly data: Uint8Array
}

/**
 * A guest of the Linux boot protocol; addresses are bytes.
 *
 * @example
 * ```ts
 * const config: LinuxConfig = { type: 'linux', memory: 256 * 2 ** 20, cmdline: 'console=ttyS0', entry: 64 }
 * ```
 */
export type LinuxConfig = CommonConfig & {
  readonly type: 'linux'
  /** A VMM starts it: Xen creates and restores no such guest. */
  readonly purpose?: 'vmm'
  /** All of them as one, since the kernel unpacks archives that follow one another; it has no command line for them. */
  readonly ramdisk?: Uint8Array | readonly (Uint8Array | Omit<Module, 'cmdline'>)[]
  /** Default: 64 where the kernel claims it, else 32, else 16, which is through its setup code and needs a BIOS. */
  readonly entry?: 16 | 32 | 64
  /** Which of the two a bzImage holds: itself, with its own decompressor (default), or the ELF in it. */
  readonly image?: 'bzImage' | 'vmlinux'
  /** Where the kernel is loaded. Default: where it prefers to be, or the next address that will do. */
  readonly loadAddress?: Paddr
  /** How much further up a vmlinux is to run, by its relocation table. Default: 0; for 32-bit kernels as it is loaded. */
  readonly virtualOffset?: bigint
  /** Default: as high as the kernel allows. */
  readonly ramdiskAddress?: Paddr
  /**
   * Physical ranges that the guest is told to leave alone, at most 1024; nothing is placed there. A kernel that runs at
   * 0x100000 alone is loaded elsewhere where that is reserved, and moved there by a hook, the moment before it runs. At
   * the 16-bit entry it is the BIOS that tells a guest of its memory.
   */
  readonly reserve?: readonly Range<Paddr>[]
  /**
   * Where everything is placed. For a crash kernel, which has no other memory: the reservation that the kernel which may
   * crash has made for it (`crashkernel=`), below 4 GiB.
   */
  readonly within?: Range<Paddr>
  /** RAM that the guest has and is told of. Default: all; for a crash kernel low memory below 0x9f000 and `within`. */
  readonly memmap?: readonly Range<Paddr>[]
  /**
   * ELF core header of the kernel that may crash, as kexec(8) makes one. It is placed, kept out of the guest's RAM, and
   * named on its command line (`elfcorehdr=`): what /proc/vmcore is made of.
   */
  readonly elfcorehdr?: Uint8Array
  /** Nodes for the list that hdr.setup_data begins, in order, at most 64. Default: none. */
  readonly setupData?: readonly SetupDataNode[]
} & (
    | {
        /** hardware_subarch. lguest and xen find start_info through hardware_subarch_data. Default pc. */
        readonly subarch?: 'pc'
        readonly paging?: false
        readonly ring?: 0
      }
    | {
        readonly subarch?: Exclude<Subarch, 'pc'>
        /** Enter a vmlinux with paging on and its segments mapped at p_vaddr, besides what is mapped at its own address. */
        readonly paging?: boolean
        /** Privilege level to enter at, default 0. */
        readonly ring?: Ring
      }
  )

export type LinuxKey = Exclude<KeysOf<LinuxConfig>, keyof CommonConfig | 'type'>
export const LINUX_KEYS = keysOf<LinuxKey>({
  entry: true,
  image: true,
  loadAddress: true,
  virtualOffset: true,
  ramdiskAddress: true,
  reserve: true,
  within: true,
  memmap: true,
  elfcorehdr: true,
  subarch: true,
  paging: true,
  ring: true,
  setupData: true,
})

/** The same, checked, with its defaults filled; what stays open is undefined. */
export interface LinuxOptions extends CommonOptions {
  readonly type: 'linux'
  readonly purpose: 'vmm'
  readonly entry: 16 | 32 | 64 | undefined
  readonly image: 'bzImage' | 'vmlinux' | undefined
  readonly loadAddress: Paddr | undefined
  readonly virtualOffset: bigint | undefined
  readonly ramdiskAddress: Paddr | undefined
  readonly within: Range<Paddr> | undefined
  /** The machine's memory as the guest is told of it, without what is reserved. */
  readonly map: MemoryMap
  readonly elfcorehdr: Uint8Array | undefined
  readonly subarch: number
  readonly paging: boolean
  readonly ring: Ring
  readonly setupData: readonly SetupDataNode[]
}

/** Nothing sensible has as many. */
const MAX_SETUP_DATA = 64
/** setup_data is read in place: the kernel maps a node at a time. */
const MAX_SETUP_DATA_BYTES = 2 ** 24

/** @throws DomainBuilderError `bad-config`, `overlap`, or `does-not-fit` for a range above 4 GiB or outside of memory. */
export function checkLinux(common: CommonOptions, words: Words<LinuxKey>): LinuxOptions {
  const { subarch = 'pc', paging = false, ring = 0, reserve = [], setupData = [] } = words
  const { purpose = 'vmm' } = common
  if (purpose !== 'vmm') {
    throw badConfig(
      `Xen ${purpose}s no guest of type linux`,
      "purpose 'vmm', or type 'pv' or 'pvh' where the kernel can be one",
      `purpose '${purpose}'`,
    )
  }
  const named = common.modules.find(({ cmdline = '' }) => cmdline !== '')
  if (named !== undefined) {
    throw badConfig(
      'the Linux boot protocol has no command line for a ramdisk',
      'a ramdisk without one',
      shown(named.cmdline),
    )
  }
  const within = optional(words.within, checkWithin)
  const memmap = optional(words.memmap, (ranges) => checkedRanges(ranges, 'memmap', checkedPageRange))
  const crash = within && !overlaps(within, CRASH_LOW_MEMORY) ? [CRASH_LOW_MEMORY, within] : undefined
  const options: LinuxOptions = {
    ...common,
    type: 'linux',
    purpose,
    entry: optional(words.entry, (entry) => checkedChoice(entry, 'entry', [16, 32, 64])),
    image: optional(words.image, (image) => checkedChoice(image, 'image', ['bzImage', 'vmlinux'])),
    loadAddress: optional(words.loadAddress, (at) => checkAddress(at, 'loadAddress')),
    virtualOffset: optional(words.virtualOffset, checkVirtualOffset),
    ramdiskAddress: optional(words.ramdiskAddress, (at) => checkAddress(at, 'ramdiskAddress')),
    within,
    map: pcMemoryMap(common.memory, checkedRanges(reserve, 'reserve', checkedRange), memmap ?? crash),
    elfcorehdr: optional(words.elfcorehdr, checkCoreHeader),
    subarch: SUBARCHES[checkedChoice(subarch, 'subarch', Object.keys(SUBARCHES) as Subarch[])],
    paging: checkedBoolean(paging, 'paging'),
    ring: checkedChoice(ring, 'ring', RINGS),
    setupData: checkedArray(setupData, 'setupData', MAX_SETUP_DATA).map(checkSetupData),
  }
  requireHybrid(options)
  return options
}

/** Ring and paging are of use only to a kernel that was told, by its subarch, not to expect the protocol's own state. */
function requireHybrid({ subarch, ring, paging }: LinuxOptions): void {
  if (subarch !== HARDWARE_SUBARCH.PC || (ring === 0 && !paging)) return
  throw badConfig(
    'hardware_subarch pc is entered in ring 0 and with no mappings of its own',
    'subarch lguest or xen',
    `subarch pc, ring ${ring}, paging ${paging}`,
  )
}

const checkAddress = (value: unknown, what: string): Paddr => checkedInteger(value, what, 0, PADDR_MAX - PARAGRAPH_SIZE)

function checkVirtualOffset(value: unknown): bigint {
  if (typeof value === 'bigint' && BigInt.asIntN(64, value) === value) return value
  throw badConfig('virtualOffset cannot be used', 'a bigint of 64 bits', shown(value))
}

function checkWithin(value: unknown): Range<Paddr> {
  const within = checkedPageRange(value, 'within')
  if (within.end <= DEVICE_HOLE.end) return within
  // The way into every state leads through 32-bit code.
  throw new DomainBuilderError('does-not-fit', 'what is entered cannot lie above 4 GiB as a whole', {
    expected: `an end of within at ${hex(DEVICE_HOLE.end)} or before`,
    found: hex(within.end),
  })
}

function checkCoreHeader(value: unknown): Uint8Array {
  const bytes = checkedBytes(value, 'elfcorehdr')
  if (bytes.length === 0) throw badConfig('elfcorehdr cannot be used', 'bytes', 'none')
  return bytes
}

function checkSetupData(node: unknown): SetupDataNode {
  const { type, data } = checkedObject(node, 'a setup_data node', ['type', 'data'])
  const bytes = checkedBytes(data, "a setup_data node's data")
  checkedInteger(bytes.length, "the length of a setup_data node's data", 0, MAX_SETUP_DATA_BYTES)
  return { type: checkedInteger(type, "a setup_data node's type", SETUP_DATA_TYPE.SETUP_NONE, 0xffffffff), data: bytes }
}
