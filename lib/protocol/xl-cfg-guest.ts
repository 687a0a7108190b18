/**
 * The guest that an xl.cfg describes, as far as a builder uses it.
 *
 * Source: xl.cfg(5); Xen's tools/xl/xl_parse.c (the meanings, not the code). docs/xl-cfg.md names the differences.
 * Gotcha: a guest without type and builder is a PV guest, as for xl; cmdline, even an empty one, wins over root and
 * extra.
 */
import { closest } from '../closest.js'
import { defined } from '../defined.js'
import type { LibxlSettings } from '../guest/libxl-config.js'
import { readSettings } from './xl-cfg.js'
import { builderKeys, hvmKeys, otherKeys } from './xl-cfg-keys.js'
import { readToolstackSettings, settingKeys } from './xl-cfg-settings.js'
import { optionalCount, optionalString, refuse, type XlCfgSettings } from './xl-cfg-values.js'

/** The settings that an xl.cfg has for one type of Xen's guests. */
export type XlCfgXen =
  | {
      readonly type: 'pv'
      readonly features?: string
      /** The settings for the toolstack: disk, vif, on_crash and others. A guest for a VMM is built without them. */
      readonly settings?: LibxlSettings
    }
  | { readonly type: 'pvh'; readonly settings?: LibxlSettings }
/** The settings that an xl.cfg, or the caller in its place, has for one type of guest. */
export type XlCfgType = XlCfgXen | { readonly type: 'linux' | 'auto' }

/**
 * The builder's part of a file. Paths are as written: xl resolves them in the folder it is started in.
 * @typeParam G narrower if the caller does not override the type: a file describes a guest of Xen.
 */
export interface XlCfgGuest<G extends XlCfgType = XlCfgType> {
  /** Path as the file has it. */
  readonly kernel?: string
  /** Path as the file has it. */
  readonly ramdisk?: string
  /** In the words and units of `DomainConfig`: bytes, vcpus. */
  readonly config: {
    readonly memory?: number
    readonly maxmem?: number
    /** The most vcpus that the guest may have, maxvcpus. */
    readonly vcpus?: number
    readonly cmdline?: string
    readonly name?: string
  } & G
  /** Keys that change nothing in this guest: xl reads them for an HVM guest, or the guest does not run on Xen. Sorted. */
  readonly unused: readonly string[]
  /** Keys that xl obeys and that `settings` do not carry (cpus, cpuid, vkb...), sorted. */
  readonly notCarried: readonly string[]
  /** Unknown keys, sorted, each with the closest key of xl.cfg: xl ignores unknown keys silently. */
  readonly unknown: readonly { readonly key: string; readonly meant?: string }[]
  /** Settings whose effect differs from their appearance, one sentence each. */
  readonly warnings: readonly string[]
}

/** Decisions of the caller that win over the file. */
export interface XlCfgOverrides {
  /** The type of guest: type, builder and pvshim are then not read. features is for a pv guest alone. */
  readonly type?: XlCfgType['type']
  /** Keys that are not read, as if the file did not have them. */
  readonly without?: readonly string[]
}

const MIB = 2 ** 20

/**
 * Returns the guest that the text of an xl.cfg describes, as far as the caller does not decide.
 *
 * @throws DomainBuilderError `bad-config` for text that `parseXlCfg` refuses, and a value that is of the wrong kind or
 *   that xl refuses. Also for a guest that does not start in its kernel: `type = "hvm"`, `pvshim = 1`.
 */
export function readXlCfg(
  text: string,
  overrides?: XlCfgOverrides & { readonly type?: 'pv' | 'pvh' },
): XlCfgGuest<XlCfgXen>
export function readXlCfg(text: string, overrides?: XlCfgOverrides): XlCfgGuest
export function readXlCfg(text: string, { type: asked, without = [] }: XlCfgOverrides = {}): XlCfgGuest {
  const settings = new Map(readSettings(text))
  for (const key of [...without, ...(asked === undefined ? [] : TYPE_KEYS)]) settings.delete(key)
  const string = (key: string) => optionalString(settings, key)
  const count = (key: string) => optionalCount(settings, key)
  const type = asked ?? guestType(string('type'), string('builder'))
  if (type === 'pvh' && (count('pvshim') ?? 0) !== 0) {
    refuse(
      'pvshim',
      "0: xl starts Xen's shim with this kernel as its module; build it as type pv",
      `${count('pvshim')}`,
    )
  }
  const kernel = string('kernel')
  const firmware = string('firmware')
  if (firmware !== undefined && firmware !== 'pvgrub32' && firmware !== 'pvgrub64') {
    refuse('firmware', 'pvgrub32 or pvgrub64', `'${firmware}'`)
  }
  if (kernel !== undefined && firmware !== undefined) {
    refuse('firmware', 'either firmware or kernel, not both', `'${firmware}'`)
  }
  // Read even where cmdline wins: a list in its place is refused either way.
  const line = rootAndExtra(string('root'), string('extra'))
  const memory = count('memory')
  const maxmem = count('maxmem')
  const features = string('features')
  const ramdisk = string('ramdisk')
  const cmdline = string('cmdline') ?? line
  const [online, most] = [count('vcpus'), count('maxvcpus')]
  const isXens = type === 'pv' || type === 'pvh'
  // A restarted guest boots from these files. All of them come from here, or none does.
  const isWhole = kernel !== undefined && !without.some((key) => BOOT_KEYS.includes(key))
  const found = isXens
    ? readToolstackSettings(settings, type, {
        ...(isWhole ? defined({ kernel, ramdisk, cmdline }) : {}),
        ...(online && most && online < most ? { avail_vcpus: Array.from({ length: online }, (_, id) => id) } : {}),
      })
    : {}
  const kept = Object.keys(found).length > 0 ? found : undefined
  return {
    ...defined({ kernel, ramdisk }),
    config: {
      ...(type === 'pv' ? { type, ...defined({ features, settings: kept }) } : ofType(type, kept)),
      ...defined({
        // As in xl, an absent value of one defaults to the other.
        memory: inBytes(memory ?? maxmem),
        maxmem: inBytes(maxmem),
        vcpus: vcpusOf(online, most),
        cmdline,
        name: string('name'),
      }),
    },
    ...sortKeys([...settings.keys()], isXens ? settingKeys(type) : undefined),
    warnings: warningsOf(settings, string),
  }
}

const ofType = (type: 'pvh' | 'linux' | 'auto', settings: LibxlSettings | undefined) =>
  type === 'pvh' ? { type, ...defined({ settings }) } : { type }

/** Keys that decide the type of guest. */
const TYPE_KEYS = ['type', 'builder', 'pvshim']
/** Keys that decide the files that a guest boots from. */
const BOOT_KEYS = ['kernel', 'ramdisk', 'cmdline']

const inBytes = (mib: number | undefined): number | undefined => (mib === undefined ? undefined : mib * MIB)

function rootAndExtra(root: string | undefined, extra: string | undefined): string | undefined {
  return root === undefined ? extra : `root=${root}${extra === undefined ? '' : ` ${extra}`}`
}

/** Returns the most vcpus that the guest may have; 0 counts as absent. */
function vcpusOf(vcpus: number | undefined, maxvcpus: number | undefined): number | undefined {
  if (maxvcpus && maxvcpus < (vcpus ?? 0)) refuse('maxvcpus', `at least vcpus, which is ${vcpus}`, `${maxvcpus}`)
  return maxvcpus || vcpus || undefined
}

/** The most unknown keys that get a suggestion: one costs more than reading the key. */
const SUGGESTED = 100

/** Sorts the keys that the builder does not read. @param carried those that the settings have; undefined without Xen. */
function sortKeys(
  keys: readonly string[],
  carried: readonly string[] | undefined,
): Pick<XlCfgGuest, 'unused' | 'notCarried' | 'unknown'> {
  const ours = new Set([...builderKeys(), ...(carried ?? [])])
  const known = new Set([...builderKeys(), ...settingKeys('pv'), ...settingKeys('pvh'), ...otherKeys(), ...hvmKeys()])
  const others = keys.filter((key) => !ours.has(key)).sort()
  const words = [...known]
  const obeyed = new Set(carried === undefined ? [] : otherKeys())
  return {
    unused: others.filter((key) => known.has(key) && !obeyed.has(key)),
    notCarried: others.filter((key) => obeyed.has(key)),
    unknown: others
      .filter((key) => !known.has(key))
      .map((key, i) => ({ key, ...defined({ meant: i < SUGGESTED ? closest(key, words) : undefined }) })),
  }
}

function warningsOf(settings: XlCfgSettings, string: (key: string) => string | undefined): readonly string[] {
  const hidden = ['root', 'extra'].filter((key) => settings.has(key))
  const bootloader = string('bootloader')
  const firmware = string('firmware')
  return [
    ...(settings.has('cmdline') && hidden.length > 0
      ? [`${hidden.join(' and ')} ${hidden.length > 1 ? 'are' : 'is'} ignored, since cmdline is set`]
      : []),
    ...(bootloader === undefined
      ? []
      : [`bootloader '${bootloader}' is ignored: name the kernel that it finds on the guest's disk`]),
    ...(firmware === undefined ? [] : [`firmware '${firmware}' is ignored: name the kernel file that comes with xl`]),
    ...(settings.has('features') ? ['features is used for a PV guest only, and xl ignores it'] : []),
  ]
}

function guestType(type: string | undefined, builder: string | undefined): 'pv' | 'pvh' {
  if (builder !== undefined && builder !== 'generic' && builder !== 'hvm') refuse('builder', 'generic', `'${builder}'`)
  const built = builder === 'generic' ? 'pv' : builder
  if (type !== undefined && built !== undefined && type !== built) {
    refuse('builder', `a builder that agrees with type '${type}'`, `'${builder}'`)
  }
  const meant = type ?? built ?? 'pv'
  if (meant === 'pv' || meant === 'pvh') return meant
  return refuse(
    type === undefined ? 'builder' : 'type',
    type === undefined ? 'generic: an hvm guest starts in firmware' : 'pv or pvh: an hvm guest starts in firmware',
    `'${meant}'`,
  )
}
