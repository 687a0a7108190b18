/**
 * The part of a configuration that Xen and its toolstack get with a guest, and that no byte of the guest shows: settings
 * of libxl, and processor policies.
 *
 * Source: Xen tools/libs/light/libxl_types.idl; docs/specs/libxc-migration-stream.pandoc (the policies' records).
 * Gotcha: libxl ignores a key that it does not know, so a misspelt setting has no effect.
 */
import { XEN_DIFFERENCES, type XenRelease, xenHas } from '../abi/xen-release.js'
import { type Domain, isPolicy, type SavedRecord } from '../guest/domain.js'
import {
  isSettings,
  type LibxlSettings,
  type LibxlValue,
  libxlConfig,
  OWN_SETTINGS,
  settingAt,
} from '../guest/libxl-config.js'
import { clip, shown } from '../units.js'
import { badConfig, checkedArray, checkedBytes, checkedObject, optional, reading } from './config-values.js'

/** The settings and policies of a guest, checked. */
export interface ToolstackOptions {
  readonly settings: LibxlSettings | undefined
  readonly policies: readonly SavedRecord[]
}

/** libxl's JSON is 5 deep. */
const MAX_DEPTH = 16
const MAX_VALUES = 1 << 16
const MAX_TEXT = 1 << 16
/** Bytes of a CPUID leaf and of an MSR in the records. */
const ENTRY_BYTES: Readonly<Record<string, number>> = { X86_CPUID_POLICY: 24, X86_MSR_POLICY: 16 }

/** @throws DomainBuilderError `bad-config`. */
export function checkToolstack(settings: unknown, policies: unknown, xen: XenRelease): ToolstackOptions {
  const records = checkedArray(policies === undefined ? [] : policies, 'policies', Object.keys(ENTRY_BYTES).length).map(
    checkPolicy,
  )
  const [first, second] = records
  if (first !== undefined && first.name === second?.name) {
    throw badConfig('a policy is given twice', Object.keys(ENTRY_BYTES).join(' and '), first.name)
  }
  return { settings: optional(settings, (value) => checkSettings(value, xen)), policies: records }
}

/** Returns a copy of the settings. */
function checkSettings(value: unknown, xen: XenRelease): LibxlSettings {
  const settings = copied(value, 'settings', MAX_DEPTH, { values: 0 })
  if (!isSettings(settings)) throw badConfig('settings cannot be used', 'an object', shown(value))
  for (const part of ['c_info', 'b_info']) {
    const found = settings[part]
    if (found !== undefined && !isSettings(found))
      throw badConfig(`settings.${part} is invalid`, 'an object', shown(found))
  }
  const own = OWN_SETTINGS.find((path) => settingAt(settings, path) !== undefined)
  if (own !== undefined) throw badConfig(`settings.${own.join('.')} is set by the guest itself`, 'no such key', 'one')
  for (const [name, { keys = [], since = '' }] of Object.entries(XEN_DIFFERENCES)) {
    const newer = keys.find((path) => settingAt(settings, path.split('.')) !== undefined)
    if (newer === undefined || xenHas(xen, name as keyof typeof XEN_DIFFERENCES)) continue
    throw badConfig(`settings.${newer} is unknown to Xen ${xen}`, `Xen ${since} or later, or no such key`, 'the key')
  }
  return settings
}

/** Returns a copy of a value that JSON can hold. @param count the values so far, since one may be reached many times. */
function copied(value: unknown, what: string, depth: number, count: { values: number }): LibxlValue {
  if (++count.values > MAX_VALUES) throw badConfig('settings are too many', `at most ${MAX_VALUES} values`, 'more')
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return value
  if (typeof value === 'string') return checkedLength(value, what)
  if (depth === 0 || typeof value !== 'object' || value === null) {
    throw badConfig(`${what} is invalid`, 'text, a number, true, false, a list or an object', shown(value))
  }
  const inner = (name: string, one: unknown): LibxlValue => copied(one, `${what}.${clip(name)}`, depth - 1, count)
  if (isList(value, what)) return checkedArray(value, what, MAX_VALUES).map((one, i) => inner(String(i), one))
  const entries = reading(what, () => Object.entries(value))
  return Object.fromEntries(entries.flatMap(([key, one]) => (one === undefined ? [] : [[key, inner(key, one)]])))
}

const isList = (value: object, what: string): boolean => reading(what, () => Array.isArray(value))

function checkedLength(text: string, what: string): string {
  if (text.length <= MAX_TEXT) return text
  throw badConfig(`${what} is too long`, `at most ${MAX_TEXT} characters`, `${text.length}`)
}

function checkPolicy(value: unknown): SavedRecord {
  const { name, body } = checkedObject(value, 'a policy', ['name', 'body'])
  const bytes = checkedBytes(body, "a policy's body")
  const entry = typeof name === 'string' && Object.hasOwn(ENTRY_BYTES, name) ? ENTRY_BYTES[name] : undefined
  if (entry === undefined)
    throw badConfig("a policy's name is invalid", Object.keys(ENTRY_BYTES).join(' or '), shown(name))
  if (bytes.length === 0 || bytes.length % entry !== 0) {
    throw badConfig(`the size of ${name} is invalid`, `a multiple of ${entry} bytes`, `${bytes.length}`)
  }
  return { name: name as string, body: bytes }
}

/** Returns the guest with what its toolstack is to get. */
export function withToolstack<D extends Domain>(domain: D, options: ToolstackOptions): D {
  const { settings, policies } = options
  if (settings === undefined && policies.length === 0) return domain
  return { ...domain, saved: { config: libxlConfig(domain, settings), records: policies } }
}

/**
 * Returns the processor policies of a guest from a save file of xl: the records X86_CPUID_POLICY and X86_MSR_POLICY. A
 * guest built with them finds the same processor as that one did.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc.
 * @throws DomainBuilderError `bad-config` for a guest without them: it was not saved, or by a Xen before 4.14.
 * @example
 * ```ts
 * const host = await openSnapshot('host.xl')
 * const guest = buildDomain(kernel, { type: 'pvh', memory: 256 * 2 ** 20, policies: policiesOf(host) })
 * ```
 */
export function policiesOf({ saved, type }: Domain): readonly SavedRecord[] {
  const policies = (saved?.records ?? []).filter(isPolicy)
  if (policies.length > 0) return policies
  throw badConfig('the guest has no processor policies', 'a guest that xl of Xen 4.14 or later saved', type)
}
