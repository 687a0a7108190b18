/**
 * What a guest of the Linux boot protocol can be asked for beside the common words, checked.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html); the words are the command
 * line's.
 * Gotcha: an address that is given is taken or refused, never moved: only what is left open is placed.
 */
import { HARDWARE_SUBARCH, PARAGRAPH_SIZE, SETUP_DATA_TYPE } from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import { CRASH_LOW_MEMORY, DEVICE_HOLE } from '../guest/memory-map.js'
import {
  checkedInteger,
  checkedList,
  hex,
  overlaps,
  PADDR_MAX,
  PAGE_SIZE,
  type Paddr,
  type Range,
  showRange,
} from '../units.js'
import type { CommonConfig } from './config.js'

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

/** What a guest of the Linux boot protocol is given besides; addresses are bytes. */
export interface LinuxConfig extends CommonConfig {
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
   * Physical ranges that the guest is told to leave alone; nothing is placed there. A kernel that runs at 0x100000 alone
   * is loaded elsewhere where that is reserved, and moved there by a hook, the moment before it runs. At the 16-bit entry
   * it is the BIOS that tells a guest of its memory.
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
  /** hardware_subarch. lguest and xen find start_info through hardware_subarch_data. Default pc. */
  readonly subarch?: Subarch
  /** Enter a vmlinux with paging on and its segments mapped at p_vaddr, besides what is mapped at its own address. */
  readonly paging?: boolean
  /** Privilege level to enter at, default 0. */
  readonly ring?: Ring
  /** Nodes for the list that hdr.setup_data begins, in order. Default: none. */
  readonly setupData?: readonly SetupDataNode[]
}

/** The same with its defaults filled; what stays open is undefined. */
export interface LinuxOptions {
  readonly entry: 16 | 32 | 64 | undefined
  readonly image: 'bzImage' | 'vmlinux' | undefined
  readonly loadAddress: Paddr | undefined
  readonly virtualOffset: bigint | undefined
  readonly ramdiskAddress: Paddr | undefined
  readonly within: Range<Paddr> | undefined
  readonly memmap: readonly Range<Paddr>[] | undefined
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

function oneOf<const T extends string | number>(value: unknown, what: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value)
  if (found !== undefined) return found
  throw new DomainBuilderError('bad-config', `${what} cannot be used`, {
    expected: allowed.join(' or '),
    found: `'${String(value)}'`,
  })
}

const address = (value: unknown, what: string): Paddr | undefined =>
  value === undefined ? undefined : checkedInteger(value, what, 0, PADDR_MAX - PARAGRAPH_SIZE)

function checkWithin(within: Range<Paddr> | undefined): Range<Paddr> | undefined {
  if (within === undefined) return undefined
  const start = checkedInteger(within.start, 'start of within', 0, PADDR_MAX)
  const end = checkedInteger(within.end, 'end of within', start + PAGE_SIZE, PADDR_MAX)
  if (end > DEVICE_HOLE.end) {
    // The way into every state leads through 32-bit code.
    throw new DomainBuilderError('does-not-fit', 'what is entered cannot lie above 4 GiB as a whole', {
      expected: `an end of within at ${hex(DEVICE_HOLE.end)} or before`,
      found: hex(end),
    })
  }
  if (start % PAGE_SIZE === 0 && end % PAGE_SIZE === 0) return { start, end }
  throw new DomainBuilderError('bad-config', 'within is not whole pages', {
    expected: `multiples of ${hex(PAGE_SIZE)}`,
    found: showRange({ start, end }),
  })
}

/** @throws DomainBuilderError `bad-config`, or `does-not-fit` for a range above 4 GiB. */
export function checkLinux(config: LinuxConfig): LinuxOptions {
  const { setupData = [], virtualOffset } = config
  if (
    virtualOffset !== undefined &&
    (typeof virtualOffset !== 'bigint' || BigInt.asIntN(64, virtualOffset) !== virtualOffset)
  ) {
    throw new DomainBuilderError('bad-config', 'virtualOffset cannot be used', {
      expected: 'a bigint of 64 bits',
      found: String(virtualOffset),
    })
  }
  if (checkedList(setupData, 'setupData').length > MAX_SETUP_DATA) {
    throw new DomainBuilderError('bad-config', 'too much setup_data', {
      expected: `at most ${MAX_SETUP_DATA} nodes`,
      found: `${setupData.length}`,
    })
  }
  const within = checkWithin(config.within)
  if (config.elfcorehdr !== undefined && !(config.elfcorehdr instanceof Uint8Array && config.elfcorehdr.length > 0)) {
    throw new DomainBuilderError('bad-config', 'elfcorehdr cannot be used', {
      expected: 'bytes',
      found: typeof config.elfcorehdr,
    })
  }
  return {
    entry: config.entry === undefined ? undefined : oneOf(config.entry, 'entry', [16, 32, 64]),
    image: config.image === undefined ? undefined : oneOf(config.image, 'image', ['bzImage', 'vmlinux']),
    loadAddress: address(config.loadAddress, 'loadAddress'),
    virtualOffset,
    ramdiskAddress: address(config.ramdiskAddress, 'ramdiskAddress'),
    within,
    memmap: config.memmap ?? (within && !overlaps(within, CRASH_LOW_MEMORY) ? [CRASH_LOW_MEMORY, within] : undefined),
    elfcorehdr: config.elfcorehdr,
    subarch: SUBARCHES[oneOf(config.subarch ?? 'pc', 'subarch', Object.keys(SUBARCHES) as Subarch[])],
    paging: config.paging === true,
    ring: oneOf(config.ring ?? 0, 'ring', RINGS),
    setupData: setupData.map(({ type, data }) => {
      checkedInteger(type, "a setup_data node's type", SETUP_DATA_TYPE.SETUP_NONE, 0xffffffff)
      checkedInteger(data?.length, "the length of a setup_data node's data", 0, MAX_SETUP_DATA_BYTES)
      return { type, data }
    }),
  }
}
