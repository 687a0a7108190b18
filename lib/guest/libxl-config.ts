/**
 * The configuration of a domain as libxl keeps it, JSON: the settings of the guest itself, and those for a toolstack.
 *
 * Source: Xen tools/libs/light/libxl_types.idl (names and units only); tools/xl/xl_parse.c (xl's defaults); files of xl.
 * Gotcha: libxl's defaults are not xl's. Without msr_relaxed a restored guest reads 0 from unknown MSRs, and without
 * on_reboot a reboot destroys it. Memory is KiB. avail_vcpus must list every vcpu that is to come up.
 */
import { toHex } from '../bytes.js'
import { sha256 } from '../sha256.js'
import { PAGE_SIZE, type Paddr, paddrOf } from '../units.js'
import type { BootInfo, Domain } from './domain.js'

/** A value of libxl's JSON. Settings with a default are the words True and False, others true and false. */
export type LibxlValue = string | number | boolean | readonly LibxlValue[] | LibxlSettings

/**
 * Settings of a domain in libxl's JSON, such as `on_reboot`, `b_info.nested_hvm` and `disks`.
 *
 * @example
 * ```ts
 * const settings: LibxlSettings = { on_crash: 'preserve', b_info: { event_channels: 4096, nested_hvm: 'True' } }
 * ```
 */
export interface LibxlSettings {
  readonly [key: string]: LibxlValue
}

/** The settings of the guest itself, which its other properties decide. */
export const OWN_SETTINGS: readonly (readonly string[])[] = [
  ['c_info', 'type'],
  ['c_info', 'name'],
  ['b_info', 'max_vcpus'],
  ['b_info', 'max_memkb'],
  ['b_info', 'target_memkb'],
]

/** The memory of a guest whose description has none, as the command line writes it. */
export const DEFAULT_MEMORY = '128M'

/** The settings that xl gives every guest. */
export const XL_DEFAULTS: LibxlSettings = {
  b_info: { arch_x86: { msr_relaxed: 'False' } },
  on_reboot: 'restart',
  on_soft_reset: 'soft_reset',
}

/**
 * Returns a UUID made from the content that identifies the guest, so the same guest always has the same UUID. It is
 * version 8 of RFC 9562, the version for custom values.
 */
export function domainUuid(domain: Domain): string {
  const startInfo = startInfoOf(domain.boot)
  const bytes = sha256(
    JSON.stringify([domain.name, domain.type, domain.abi, domain.memory.pageCount, domain.vcpus.length]),
    startInfo === undefined ? '' : domain.memory.read(startInfo, PAGE_SIZE),
    domain.kernel?.sha256 ?? '',
  ).subarray(0, 16)
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function startInfoOf(boot: BootInfo): Paddr | undefined {
  if (boot.kind === 'start_info') return paddrOf(boot.startInfo.pfn)
  return boot.kind === 'hvm_start_info' ? boot.hvmStartInfo : undefined
}

/** Returns the JSON as libxl writes it. */
export const configText = (config: unknown): string => `${JSON.stringify(config, null, 4)}\n`

/**
 * Returns the configuration of a guest for Xen that has no saved one.
 * @param settings those for the toolstack; xl's defaults apply to the others.
 * @param uuid default: that of the settings, or one made from the guest's content.
 */
export function libxlConfig(domain: Domain, settings: LibxlSettings = {}, uuid?: string): string {
  const kib = (bytes: number): number => Math.ceil(bytes / 1024)
  const guest = {
    c_info: { type: domain.type, name: domain.name, uuid: '' },
    b_info: {
      max_vcpus: domain.vcpus.length,
      avail_vcpus: domain.vcpus.map(({ id }) => id),
      max_memkb: kib(domain.maxmem),
      // A PVH or HVM guest has special pages in addition to its memory.
      target_memkb: kib(domain.target ?? Math.min(domain.maxmem, domain.memory.pageCount * PAGE_SIZE)),
      [`type.${domain.type}`]: {},
    },
  }
  const merged = merge(merge(guest, XL_DEFAULTS), settings)
  const named = uuid ?? ((merged.c_info as LibxlSettings).uuid || domainUuid(domain))
  return configText(merge(merged, { c_info: { uuid: named } }))
}

/** Returns whether a value is settings in turn. */
export const isSettings = (value: LibxlValue | undefined): value is LibxlSettings =>
  typeof value === 'object' && !Array.isArray(value)

/** Returns settings with others on top: objects are merged, and other values replaced. */
export function merge(under: LibxlSettings, over: LibxlSettings): LibxlSettings {
  const merged = new Map(Object.entries(under))
  for (const [key, value] of Object.entries(over)) {
    const held = merged.get(key)
    merged.set(key, isSettings(held) && isSettings(value) ? merge(held, value) : value)
  }
  return Object.fromEntries(merged)
}

/** Returns settings that have one value, at a path. */
export const nested = (path: readonly string[], value: LibxlValue): LibxlSettings =>
  path.reduceRight<LibxlValue>((inner, key) => ({ [key]: inner }), value) as LibxlSettings

/** Returns the value at a path, undefined where the settings have none. */
export function settingAt(settings: LibxlSettings, path: readonly string[]): LibxlValue | undefined {
  return path.reduce<LibxlValue | undefined>(
    (at, key) => (isSettings(at) && Object.hasOwn(at, key) ? at[key] : undefined),
    settings,
  )
}
