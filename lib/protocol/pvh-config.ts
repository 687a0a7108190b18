/**
 * The configuration of a PVH guest, checked.
 *
 * Source: docs/misc/pvh.pandoc; the keys are the command line's options.
 * Gotcha: the platform decides the rest of the machine: Xen's has special pages and no I/O APIC, a VMM's is a PC. The
 * memory map goes to maxmem, as libxl makes it. A dom0 finds the host, so only its RAM has to be given.
 */
import { ACPI_PROFILES, type AcpiProfile } from '../guest/acpi.js'
import { dom0MemoryMap, type MemoryMap } from '../guest/memory-map.js'
import type { Purpose } from '../guest/purpose.js'
import { checkedInteger, type Paddr, type Range, shown } from '../units.js'
import { type CommonConfig, type CommonOptions, refuseXen, requireDom0 } from './common-config.js'
import {
  badConfig,
  checkedChoice,
  checkedObject,
  checkedRange,
  checkedRanges,
  type KeysOf,
  keysOf,
  optional,
  type Words,
} from './config-values.js'
import { PVH_PLATFORMS, type PvhPlatform, platformMap } from './pvh-platform.js'

/**
 * A PVH guest; addresses are bytes.
 *
 * @example
 * ```ts
 * const config: PvhConfig = { type: 'pvh', memory: 512 * 2 ** 20, vcpus: 2, purpose: 'vmm', acpi: 'reduced' }
 * ```
 */
export type PvhConfig = CommonConfig & { readonly type: 'pvh' } & (
    | ({
        /** Default: the profile of the platform. `none`: no tables, so the guest finds one vcpu. */
        readonly acpi?: AcpiProfile | 'none'
        /** Version of hvm_start_info. 0 has no memory map. Default 1. */
        readonly startInfoVersion?: 0 | 1
        /** The load address, if PHYS32_RELOC allows it. Default: the link address, or the next one that is allowed. */
        readonly loadAddress?: Paddr
        /** Physical ranges that the guest is told to leave alone, at most 1024; nothing is placed there. */
        readonly reserve?: readonly Range<Paddr>[]
        readonly dom0?: never
      } & (
        | {
            /** The machine that the guest finds: Xen's, or a PC. Default `pc` for a guest whose purpose is `vmm`, else `xen`. */
            readonly platform?: 'xen'
          }
        | {
            readonly platform?: 'pc'
            readonly purpose?: 'vmm'
            readonly xen?: never
            readonly settings?: never
            readonly policies?: never
          }
      ))
    | {
        /** The guest is the hardware domain. Its hvm_start_info is of version 0, and ACPI tables are omitted. */
        readonly dom0?: PvhDom0
        readonly purpose?: Exclude<Purpose, 'restore'>
        readonly acpi?: never
        readonly startInfoVersion?: never
        readonly loadAddress?: never
        readonly reserve?: never
        readonly platform?: never
      }
  )

/** A PVH dom0: its memory lies where the host's does. */
export interface PvhDom0 {
  /** The RAM of the host in bytes, half-open: the usable ranges of its e820, at most 1024. */
  readonly hostRam: readonly Range<Paddr>[]
}

export type PvhKey = Exclude<KeysOf<PvhConfig>, keyof CommonConfig | 'type'>
export const PVH_KEYS = keysOf<PvhKey>({
  platform: true,
  acpi: true,
  startInfoVersion: true,
  loadAddress: true,
  reserve: true,
  dom0: true,
})

/** The checked configuration, with defaults filled in; values to be chosen later are undefined. */
export interface PvhOptions extends CommonOptions {
  readonly type: 'pvh'
  readonly purpose: Purpose
  readonly platform: PvhPlatform
  readonly acpi: AcpiProfile | 'none'
  readonly startInfoVersion: 0 | 1
  readonly loadAddress: Paddr | undefined
  /** Whether the guest is the hardware domain. */
  readonly dom0: boolean
  /** Bytes that are populated at first, if not all. */
  readonly target: number | undefined
  /** The machine's memory, without the reserved ranges. */
  readonly map: MemoryMap
}

const NOT_OF_DOM0 = ['platform', 'acpi', 'startInfoVersion', 'loadAddress', 'reserve'] as const

/** @throws DomainBuilderError `bad-config`, `overlap` for ranges that share an address. */
function checkDom0(common: CommonOptions, words: Words<PvhKey>): PvhOptions {
  const { hostRam } = checkedObject(words.dom0, 'dom0', ['hostRam'])
  const other = NOT_OF_DOM0.find((key) => words[key] !== undefined)
  if (other !== undefined) throw badConfig(`${other} is invalid for a dom0`, "the host's", shown(words[other]))
  requireDom0(common)
  if (hostRam === undefined)
    throw badConfig('hostRam of dom0 is missing', "the usable ranges of the host's e820", 'none')
  return {
    ...common,
    type: 'pvh',
    purpose: common.purpose ?? 'create',
    platform: 'xen',
    acpi: 'none',
    startInfoVersion: 0,
    loadAddress: undefined,
    dom0: true,
    target: undefined,
    map: dom0MemoryMap(common.memory, checkedRanges(hostRam, 'hostRam', checkedRange)),
  }
}

/** @throws DomainBuilderError `bad-config`, `overlap` for ranges that share an address. */
export function checkPvh(common: CommonOptions, words: Words<PvhKey>): PvhOptions {
  if (words.dom0 !== undefined) return checkDom0(common, words)
  const { purpose = words.platform === 'pc' ? 'vmm' : 'create' } = common
  const { platform = purpose === 'vmm' ? 'pc' : 'xen', startInfoVersion = 1, reserve = [] } = words
  const machine = checkedChoice(platform, 'platform', PVH_PLATFORMS)
  const { acpi = machine } = words
  if (machine === 'pc' && purpose !== 'vmm') {
    throw badConfig(
      'platform pc is invalid for a guest that Xen starts',
      "platform 'xen', or purpose 'vmm'",
      `purpose '${purpose}'`,
    )
  }
  if (machine === 'pc') refuseXen(common, 'a PVH guest of platform pc')
  // A save file has no pages on demand: a restored guest begins with all of them.
  const isOnDemand = common.maxmem > common.memory && purpose === 'create'
  return {
    ...common,
    type: 'pvh',
    purpose,
    platform: machine,
    acpi: checkedChoice(acpi, 'acpi', [...ACPI_PROFILES, 'none']),
    startInfoVersion: checkedChoice(startInfoVersion, 'startInfoVersion', [0, 1]),
    loadAddress: optional(words.loadAddress, (at) => checkedInteger(at, 'loadAddress', 0, 2 ** 32 - 1)),
    dom0: false,
    target: isOnDemand ? common.memory : undefined,
    map: platformMap(machine, common.maxmem, checkedRanges(reserve, 'reserve', checkedRange)),
  }
}
