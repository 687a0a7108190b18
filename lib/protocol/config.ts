/**
 * The configuration of a guest, one shape for each type, and the one place that checks it before anything is built.
 *
 * Source: xl.cfg(5); each type has its own configuration file in this directory.
 * Gotcha: a guest without a type, or of type auto, takes only the common keys: any other key needs the type it is for.
 */
import { DomainBuilderError } from '../errors.js'
import { shown } from '../units.js'
import { COMMON_KEYS, type CommonConfig, type CommonOptions, checkCommon } from './common-config.js'
import { badConfig, checkedChoice, type KeysOf, readObject, unknownKey, type Words } from './config-values.js'
import { checkLinux, LINUX_KEYS, type LinuxConfig, type LinuxKey, type LinuxOptions } from './linux-config.js'
import { checkPv, PV_KEYS, type PvConfig, type PvKey, type PvOptions } from './pv-config.js'
import { checkPvh, PVH_KEYS, type PvhConfig, type PvhKey, type PvhOptions } from './pvh-config.js'

/** Keys that must be absent. */
type Absent<K extends PropertyKey> = { readonly [Key in K]?: never }

/**
 * A guest of the type that suits its kernel best, described by the common keys.
 *
 * - no purpose: the first of pv, pvh and linux that the kernel supports;
 * - `create` and `restore`: the first of pv and pvh;
 * - `vmm`: the first of pvh, linux and pv.
 *
 * @example
 * ```ts
 * const config: AutoConfig = { memory: 256 * 2 ** 20, cmdline: 'console=hvc0', purpose: 'restore' }
 * ```
 */
export interface AutoConfig
  extends CommonConfig,
    Absent<Exclude<KeysOf<PvConfig | PvhConfig | LinuxConfig>, keyof CommonConfig | 'type'>> {
  readonly type?: 'auto'
}

/**
 * A guest, by its `type`: `pv`, `pvh`, `linux`, or `auto`, the default. Each type has separate keys. A key of another
 * type, or a misspelt one, does not compile and is refused.
 *
 * @example
 * ```ts
 * const guest = buildDomain(kernel, { type: 'pvh', memory: 256 * 2 ** 20, startInfoVersion: 1 })
 * ```
 */
export type DomainConfig = PvConfig | PvhConfig | LinuxConfig | AutoConfig

/** The checked configuration: one shape for each type that can be built. */
type DomainOptions = PvOptions | PvhOptions | LinuxOptions
/** A guest whose type depends on the kernel. */
interface AutoOptions extends CommonOptions {
  readonly type: 'auto'
}

const KEYS = { pv: PV_KEYS, pvh: PVH_KEYS, linux: LINUX_KEYS, auto: [] } as const
type ConfigType = keyof typeof KEYS
const TYPES = Object.keys(KEYS) as ConfigType[]
type OwnKey = PvKey | PvhKey | LinuxKey
const OWN_KEYS: readonly OwnKey[] = [...new Set([...PV_KEYS, ...PVH_KEYS, ...LINUX_KEYS])]

/**
 * Returns the checked configuration.
 * @throws DomainBuilderError `bad-config` for an invalid key or value; `overlap` and `does-not-fit` for ranges.
 */
export function checkConfig(config: unknown): DomainOptions | AutoOptions {
  const { words, unknown } = readObject(config, 'the configuration', ['type', ...COMMON_KEYS, ...OWN_KEYS])
  const { type: given = 'auto' } = words
  if (given === 'hvm')
    throw badConfig('type hvm is not supported, since firmware starts an HVM guest', TYPES.join(' or '), shown(given))
  const type = checkedChoice(given, 'type', TYPES)
  const taken: readonly string[] = ['type', ...COMMON_KEYS, ...KEYS[type]]
  // Keys of this type are suggested before those of other types, which would be refused next.
  if (unknown !== undefined) throw unknownKey(unknown, 'the configuration', [...taken, ...OWN_KEYS], taken)
  const foreign = OWN_KEYS.find((key) => words[key] !== undefined && !taken.includes(key))
  if (foreign !== undefined) throw foreignKey(foreign, type)
  const common = checkCommon(words)
  return type === 'auto' ? { ...common, type } : checkType(type, common, words)
}

/** Returns the options of a guest whose type was chosen: all other keys have that type's defaults. */
export const optionsOf = (type: DomainOptions['type'], common: AutoOptions): DomainOptions =>
  checkType(type, common, {})

function checkType(type: DomainOptions['type'], common: CommonOptions, words: Words<OwnKey>): DomainOptions {
  const check = { pv: checkPv, pvh: checkPvh, linux: checkLinux }
  return check[type](common, words)
}

/** Returns the error for a key that only other types have. */
function foreignKey(key: OwnKey, type: ConfigType): DomainBuilderError {
  const types = TYPES.filter((other) => (KEYS[other] as readonly string[]).includes(key)).join(' or ')
  const what = type === 'auto' ? 'this guest has no type' : `this guest is ${type}`
  return new DomainBuilderError('bad-config', `${key} is for type ${types}; ${what}`)
}
