/**
 * The guest that an xl.cfg describes, as far as a builder builds it.
 *
 * Source: xl.cfg(5); Xen's tools/xl/xl_parse.c (the meanings, not the code).
 * Gotcha: a guest without type and builder is a PV guest, as for xl; cmdline wins over root and extra.
 */
import { DomainBuilderError } from '../errors.js'
import { parseXlCfg, type XlCfgValue } from './xl-cfg.js'

/** What of a file a builder uses. Paths are as written: xl takes them from the folder it is started in. */
export interface XlCfgGuest {
  readonly kernel?: string
  readonly ramdisk?: string
  /** In the words and units of `DomainConfig`: bytes, vcpus. */
  readonly config: {
    readonly type: 'pv' | 'pvh'
    readonly memory?: number
    readonly maxmem?: number
    readonly vcpus?: number
    readonly cmdline?: string
    readonly name?: string
    readonly features?: string
  }
  /** Keys of the file that a builder has no use for (disk, vif, on_crash...), sorted; a misspelt key is among them. */
  readonly unused: readonly string[]
}

const USED = [
  ...['kernel', 'ramdisk', 'cmdline', 'root', 'extra', 'memory', 'maxmem', 'vcpus', 'maxvcpus', 'type', 'builder'],
  ...['name', 'features'],
]
const MIB = 2 ** 20

/**
 * Reads the text of an xl.cfg into a guest.
 *
 * @throws DomainBuilderError `bad-config` for what `parseXlCfg` refuses, a value of the wrong kind, and `type = "hvm"`.
 */
export function readXlCfg(text: string): XlCfgGuest {
  const settings = parseXlCfg(text)
  const string = (key: string) => optionalString(settings, key)
  const count = (key: string) => optionalCount(settings, key)
  const root = string('root')
  const cmdline =
    string('cmdline') ??
    ([root === undefined ? undefined : `root=${root}`, string('extra')].filter(Boolean).join(' ') || undefined)
  const memory = count('memory')
  const maxmem = count('maxmem')
  return {
    ...defined({ kernel: string('kernel'), ramdisk: string('ramdisk') }),
    config: {
      type: guestType(string('type'), string('builder')),
      ...defined({
        memory: memory === undefined ? undefined : memory * MIB,
        maxmem: maxmem === undefined ? undefined : maxmem * MIB,
        vcpus: count('maxvcpus') ?? count('vcpus'),
        cmdline,
        name: string('name'),
        features: string('features'),
      }),
    },
    unused: [...settings.keys()].filter((key) => !USED.includes(key)).sort(),
  }
}

function guestType(type: string | undefined, builder: string | undefined): 'pv' | 'pvh' {
  if (type === 'pv' || type === 'pvh') return type
  if (type === undefined && (builder === undefined || builder === 'generic' || builder === 'linux')) return 'pv'
  throw new DomainBuilderError('bad-config', type === undefined ? 'xl.cfg builder' : 'xl.cfg type', {
    expected:
      type === undefined ? 'generic: an hvm guest starts in firmware' : 'pv or pvh: an hvm guest starts in firmware',
    found: `'${type ?? builder}'`,
  })
}

function optionalString(settings: ReadonlyMap<string, XlCfgValue>, key: string): string | undefined {
  const value = settings.get(key)
  if (value === undefined || typeof value === 'string') return value
  throw new DomainBuilderError('bad-config', `xl.cfg ${key}`, { expected: 'one value', found: 'a list' })
}

/** A number as strtol reads it with base 0: 0x hex, 0 octal, else decimal. */
function optionalCount(settings: ReadonlyMap<string, XlCfgValue>, key: string): number | undefined {
  const given = optionalString(settings, key)
  if (given === undefined) return undefined
  const octal = /^0[0-7]{1,15}$/.test(given)
  if (!octal && !/^(0x[0-9a-f]{1,8}|0|[1-9]\d{0,9})$/i.test(given)) {
    throw new DomainBuilderError('bad-config', `xl.cfg ${key}`, { expected: 'a whole number', found: `'${given}'` })
  }
  return octal ? Number.parseInt(given, 8) : Number(given)
}

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> }

/** Without the keys that have no value. */
function defined<T extends object>(values: T): Present<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Present<T>
}
