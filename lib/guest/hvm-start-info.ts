/**
 * readHvmStartInfo: reads hvm_start_info and all it points to from the memory of any guest, built here or not.
 *
 * Source: xen/include/public/arch-x86/hvm/start_info.h.
 * Gotcha: only %ebx points to it, and may have changed since; the boot information keeps the address.
 */
import {
  HVM_START_INFO_V0_SIZE,
  HvmMemmapTableEntry,
  HvmModlistEntry,
  HvmStartInfo,
  type HvmStartInfoFields,
  XEN_HVM_START_MAGIC_VALUE,
} from '../abi/hvm-start-info.js'
import { SIF_INITDOMAIN } from '../abi/start-info.js'
import type { Infer, Struct } from '../abi/struct.js'
import { DomainBuilderError } from '../errors.js'
import { hex, narrow, type Paddr } from '../units.js'
import { readCString } from './c-string.js'
import type { Domain } from './domain.js'
import type { GuestMemory } from './memory.js'

/** A module as the guest finds it; without a command line the text is empty. */
export interface FoundModule extends Infer<typeof HvmModlistEntry> {
  /** The text at cmdline_paddr. */
  readonly cmdline: string
}

/**
 * hvm_start_info and all that it points to; addresses are bytes, as in xen/include/public/arch-x86/hvm/start_info.h.
 */
export interface FoundHvmStartInfo {
  /** Guest-physical address of hvm_start_info. */
  readonly paddr: Paddr
  /** Version 0 has no memory map: those fields are 0. */
  readonly fields: HvmStartInfoFields
  /** Empty without a command line. */
  readonly cmdline: string
  /** In the order of the list; addresses and sizes in bytes. */
  readonly modules: readonly FoundModule[]
  /** In the order of the table; addresses and sizes in bytes, `type` as in e820. */
  readonly memmap: readonly Infer<typeof HvmMemmapTableEntry>[]
}

/** Far more entries than any guest has, and few enough to read quickly. */
const MAX_ENTRIES = 4096

/** The most characters of all command lines together: modules may share one text, so the sum is limited. */
const TEXT_MAX = 1 << 18

/**
 * Decodes hvm_start_info at the address in the boot information, and follows its addresses.
 * @throws DomainBuilderError `bad-config` for a guest without one, `bad-snapshot` for one that contradicts itself,
 * `not-mapped` for addresses outside the guest's memory.
 */
export function readHvmStartInfo(domain: Domain): FoundHvmStartInfo {
  const { boot, memory } = domain
  if (boot.kind !== 'hvm_start_info') {
    throw new DomainBuilderError('bad-config', 'the guest has no hvm_start_info', {
      expected: 'pvh',
      found: domain.type,
    })
  }
  const { hvmStartInfo: paddr } = boot
  if (paddr === undefined) {
    throw new DomainBuilderError(
      'bad-config',
      'hvm_start_info is missing: the guest has run, and may have reused its memory',
    )
  }
  const bytes = new Uint8Array(HvmStartInfo.size)
  memory.readInto(paddr, bytes.subarray(0, HVM_START_INFO_V0_SIZE))
  const { magic, version } = HvmStartInfo.decode(bytes)
  if (magic !== XEN_HVM_START_MAGIC_VALUE) {
    throw new DomainBuilderError('bad-snapshot', 'hvm_start_info has the wrong magic', {
      expected: hex(XEN_HVM_START_MAGIC_VALUE),
      found: hex(magic),
    })
  }
  if (version > 0) memory.readInto(paddr, bytes)
  const fields = HvmStartInfo.decode(bytes)
  let room = TEXT_MAX
  const text = (at: bigint) => {
    const found = readCString(memory, narrow(at, 'cmdline_paddr'))
    room -= found.length
    if (room >= 0) return found
    throw new DomainBuilderError('bad-snapshot', 'the command lines of hvm_start_info are too long', {
      expected: `at most ${TEXT_MAX} characters in all`,
      found: 'more',
    })
  }
  const modules = readList(memory, HvmModlistEntry, fields.modlist_paddr, fields.nr_modules, 'nr_modules')
  return {
    paddr,
    fields,
    cmdline: text(fields.cmdline_paddr),
    modules: modules.map((module) => ({ ...module, cmdline: text(module.cmdline_paddr) })),
    memmap: readList(memory, HvmMemmapTableEntry, fields.memmap_paddr, fields.memmap_entries, 'memmap_entries'),
  }
}

/** Returns whether hvm_start_info says that the guest is the hardware domain. */
export function isPvhDom0({ boot, memory }: Domain): boolean {
  if (boot.kind !== 'hvm_start_info' || boot.hvmStartInfo === undefined) return false
  const bytes = new Uint8Array(HvmStartInfo.size)
  memory.readInto(boot.hvmStartInfo, bytes.subarray(0, HVM_START_INFO_V0_SIZE))
  const { magic, flags } = HvmStartInfo.decode(bytes)
  return magic === XEN_HVM_START_MAGIC_VALUE && (flags & SIF_INITDOMAIN) !== 0
}

function readList<T>(memory: GuestMemory, entry: Struct<T>, paddr: bigint, count: number, what: string): T[] {
  if (count > MAX_ENTRIES) {
    throw new DomainBuilderError('bad-snapshot', `hvm_start_info.${what} is out of range`, {
      expected: `at most ${MAX_ENTRIES}`,
      found: `${count}`,
    })
  }
  const bytes = memory.read(narrow(paddr, `the list of ${what}`), count * entry.size)
  return Array.from({ length: count }, (_, i) => entry.decode(bytes, i * entry.size))
}
