/**
 * The configuration of a guest of the Linux boot protocol, checked.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html); the keys are the command
 * line's options.
 * Gotcha: a given address is used or refused, never moved: only absent addresses are chosen.
 */

import { HARDWARE_SUBARCH, PARAGRAPH_SIZE, SETUP_DATA_TYPE } from '../abi/boot-params.js'
import { DEVICE_HOLE } from '../abi/pc.js'
import { DomainBuilderError } from '../errors.js'
import { CRASH_LOW_MEMORY, type MemoryMap, pcMemoryMap } from '../guest/memory-map.js'
import { checkedInteger, hex, overlaps, PADDR_MAX, type Paddr, type Range, shown, U32_MAX } from '../units.js'
import { type CommonConfig, type CommonOptions, refuseXen } from './common-config.js'
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
/** The privilege level at which a guest is entered. */
export type Ring = (typeof RINGS)[number]

/** A node of the chain that starts at boot_params.setup_data. */
export interface SetupDataNode {
  /** SETUP_* */
  readonly type: number
  /** The node's bytes, without the header that links to the next; not copied. */
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
  /** Only a VMM starts it: Xen neither creates nor restores a guest of this type. */
  readonly purpose?: 'vmm'
  readonly xen?: never
  readonly settings?: never
  readonly policies?: never
  /** The kernel gets them as one, since it unpacks archives that follow one another, without command lines. */
  readonly ramdisk?: Uint8Array | readonly (Uint8Array | Omit<Module, 'cmdline'>)[]
  /** Default: 64 where the kernel supports it, else 32, else 16, which enters its setup code and needs a BIOS. */
  readonly entry?: 16 | 32 | 64
  /** The image of a bzImage to load: itself, with its own decompressor (default), or the ELF in it. */
  readonly image?: 'bzImage' | 'vmlinux'
  /** The address to load the kernel at. Default: its preferred address, or the next one that is allowed. */
  readonly loadAddress?: Paddr
  /** The distance to move a vmlinux up by its relocation table. Default: 0; for 32-bit kernels its load distance. */
  readonly virtualOffset?: bigint
  /** Default: as high as the kernel allows. */
  readonly ramdiskAddress?: Paddr
  /**
   * Physical ranges that the guest is told to leave alone, at most 1024; nothing is placed there. A kernel that runs
   * only at 0x100000 is loaded elsewhere where that is reserved. A hook moves it there just before it runs. At the
   * 16-bit entry, the BIOS tells the guest of its memory.
   */
  readonly reserve?: readonly Range<Paddr>[]
  /**
   * The range that everything is placed in. For a crash kernel, which has no other memory: the reservation made by the
   * kernel that may crash (`crashkernel=`), below 4 GiB.
   */
  readonly within?: Range<Paddr>
  /** The RAM that the guest is told of. Default: all; for a crash kernel low memory below 0x9f000 and `within`. */
  readonly memmap?: readonly Range<Paddr>[]
  /**
   * ELF core header of the kernel that may crash, as kexec(8) makes one: the source of /proc/vmcore. It is placed, kept
   * out of the guest's RAM, and named on its command line (`elfcorehdr=`).
   */
  readonly elfcorehdr?: Uint8Array
  /** Nodes for the list that starts at hdr.setup_data, in order, at most 64. Default: none. */
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
        /** Enter a vmlinux with paging on. Its segments are mapped at p_vaddr, in addition to their own addresses. */
        readonly paging?: boolean
        /** The privilege level to enter at. Default 0. */
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

/** The checked configuration, with defaults filled in; values to be chosen later are undefined. */
export interface LinuxOptions extends CommonOptions {
  readonly type: 'linux'
  readonly purpose: 'vmm'
  readonly entry: 16 | 32 | 64 | undefined
  readonly image: 'bzImage' | 'vmlinux' | undefined
  readonly loadAddress: Paddr | undefined
  readonly virtualOffset: bigint | undefined
  readonly ramdiskAddress: Paddr | undefined
  readonly within: Range<Paddr> | undefined
  /** The machine's memory as the guest is told of it, without the reserved ranges. */
  readonly map: MemoryMap
  readonly elfcorehdr: Uint8Array | undefined
  readonly subarch: number
  readonly paging: boolean
  readonly ring: Ring
  readonly setupData: readonly SetupDataNode[]
}

/** The most nodes of setup_data: no real guest has as many. */
const MAX_SETUP_DATA = 64
/** The kernel reads setup_data in place, and maps one node at a time. */
const MAX_SETUP_DATA_BYTES = 2 ** 24

/** @throws DomainBuilderError `bad-config`, `overlap`, or `does-not-fit` for a range above 4 GiB or outside of memory. */
export function checkLinux(common: CommonOptions, words: Words<LinuxKey>): LinuxOptions {
  const { subarch = 'pc', paging = false, ring = 0, reserve = [], setupData = [] } = words
  const { purpose = 'vmm' } = common
  refuseXen(common, 'type linux')
  if (purpose !== 'vmm') {
    throw badConfig(
      'type linux is invalid for a guest that Xen starts',
      "purpose 'vmm', or type 'pv' or 'pvh' if the kernel supports it",
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

/** Ring and paging are useful only to a kernel whose subarch tells it not to expect the protocol's own state. */
function requireHybrid({ subarch, ring, paging }: LinuxOptions): void {
  if (subarch !== HARDWARE_SUBARCH.PC || (ring === 0 && !paging)) return
  throw badConfig(
    'hardware_subarch pc requires ring 0 without paging',
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
  // Every state is entered through 32-bit code.
  throw new DomainBuilderError('does-not-fit', 'within reaches above 4 GiB', {
    expected: `an end of within at ${hex(DEVICE_HOLE.end)} or before`,
    found: hex(within.end),
  })
}

function checkCoreHeader(value: unknown): Uint8Array {
  const bytes = checkedBytes(value, 'elfcorehdr')
  if (bytes.length === 0) throw badConfig('elfcorehdr is empty', 'bytes', 'none')
  return bytes
}

function checkSetupData(node: unknown): SetupDataNode {
  const { type, data } = checkedObject(node, 'a setup_data node', ['type', 'data'])
  const bytes = checkedBytes(data, "a setup_data node's data")
  checkedInteger(bytes.length, "the length of a setup_data node's data", 0, MAX_SETUP_DATA_BYTES)
  return { type: checkedInteger(type, "a setup_data node's type", SETUP_DATA_TYPE.SETUP_NONE, U32_MAX), data: bytes }
}
