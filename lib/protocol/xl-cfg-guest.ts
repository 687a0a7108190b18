/**
 * The guest that an xl.cfg describes, as far as a builder uses it.
 *
 * Source: xl.cfg(5); Xen's tools/xl/xl_parse.c (the meanings, not the code). docs/xl-cfg.md names the differences.
 * Gotcha: a guest without type and builder is a PV guest, as for xl; cmdline, even an empty one, wins over root and
 * extra.
 */
import { closest } from '../closest.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { readSettings, type XlCfgSetting } from './xl-cfg.js'
import { builderKeys, otherKeys } from './xl-cfg-keys.js'

/** The builder's part of a file. Paths are as written: xl resolves them in the folder it is started in. */
export interface XlCfgGuest {
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
  } & ({ readonly type: 'pv'; readonly features?: string } | { readonly type: 'pvh' })
  /** Keys that are for xl and not for a builder (disk, vif, on_crash...), sorted. */
  readonly unused: readonly string[]
  /** Unknown keys, sorted, each with the closest key of xl.cfg: xl ignores unknown keys silently. */
  readonly unknown: readonly { readonly key: string; readonly meant?: string }[]
  /** Settings whose effect differs from their appearance, one sentence each. */
  readonly warnings: readonly string[]
}

const MIB = 2 ** 20

/**
 * Returns the guest that the text of an xl.cfg describes.
 *
 * @throws DomainBuilderError `bad-config` for text that `parseXlCfg` refuses, and a value that is of the wrong kind or
 *   that xl refuses. Also for a guest that does not start in its kernel: `type = "hvm"`, `pvshim = 1`.
 */
export function readXlCfg(text: string): XlCfgGuest {
  const settings = readSettings(text)
  const string = (key: string) => optionalString(settings, key)
  const count = (key: string) => optionalCount(settings, key)
  const type = guestType(string('type'), string('builder'))
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
  return {
    ...defined({ kernel, ramdisk: string('ramdisk') }),
    config: {
      ...(type === 'pv' ? { type, ...defined({ features }) } : { type }),
      ...defined({
        // As in xl, an absent value of one defaults to the other.
        memory: inBytes(memory ?? maxmem),
        maxmem: inBytes(maxmem),
        vcpus: vcpusOf(count('vcpus'), count('maxvcpus')),
        cmdline: string('cmdline') ?? line,
        name: string('name'),
      }),
    },
    ...sortKeys([...settings.keys()]),
    warnings: warningsOf(settings, string),
  }
}

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

function sortKeys(keys: readonly string[]): Pick<XlCfgGuest, 'unused' | 'unknown'> {
  const ours = new Set(builderKeys())
  const known = new Set([...ours, ...otherKeys()])
  const others = keys.filter((key) => !ours.has(key)).sort()
  const words = [...known]
  return {
    unused: others.filter((key) => known.has(key)),
    unknown: others
      .filter((key) => !known.has(key))
      .map((key, i) => ({ key, ...defined({ meant: i < SUGGESTED ? closest(key, words) : undefined }) })),
  }
}

function warningsOf(
  settings: ReadonlyMap<string, XlCfgSetting>,
  string: (key: string) => string | undefined,
): readonly string[] {
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

function refuse(key: string, expected: string, found: string): never {
  throw new DomainBuilderError('bad-config', `the xl.cfg's ${key} is invalid`, { expected, found })
}

function optionalString(settings: ReadonlyMap<string, XlCfgSetting>, key: string): string | undefined {
  const value = settings.get(key)?.value
  return value === undefined || typeof value === 'string' ? value : refuse(key, 'one value', 'a list')
}

/** Returns a number as strtol reads it with base 0: 0x hex, 0 octal, else decimal. */
function optionalCount(settings: ReadonlyMap<string, XlCfgSetting>, key: string): number | undefined {
  const given = optionalString(settings, key)
  if (given === undefined) return undefined
  if (settings.get(key)?.added) refuse(key, 'a number set by =', `'${given}' joined by +=`)
  const [, octal, other] = /^\s*\+?(?:0([0-7]{1,14})|(0x[0-9a-f]{1,11}|0|[1-9]\d{0,12}))$/i.exec(given) ?? []
  if (octal !== undefined) return Number.parseInt(octal, 8)
  return other === undefined ? refuse(key, 'a whole number', `'${given}'`) : Number(other)
}
