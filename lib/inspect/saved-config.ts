/**
 * The settings for a toolstack in the configuration that a guest was saved with, except those of the guest itself.
 *
 * Source: Xen tools/libs/light/libxl_types.idl; ../guest/libxl-config.ts has the settings that every guest has.
 * Gotcha: xl obeys the configuration in a save file: it starts the device model and opens the disks named there. A file
 * from an untrusted source can name any.
 */
import { XL_DEFAULTS } from '../guest/libxl-config.js'

/** One value of the configuration. */
interface SavedSetting {
  /** Its path in the configuration: `disks[0].pdev_path`. */
  readonly name: string
  /** Text unchanged, anything else as JSON. */
  readonly value: string
}

/** The settings of the guest itself. */
const OF_THE_GUEST =
  /^(c_info\.(type|name|uuid)|b_info\.(max_vcpus|avail_vcpus(\[\d+\])?|max_memkb|target_memkb|type\.(pv|pvh|hvm)))$/
/** The most levels of nested lists and objects that are read. libxl's are 5 deep. */
const MAX_DEPTH = 16

/** xl's defaults, which every guest has that was built for it. */
const DEFAULTS = new Map(settingsOf(XL_DEFAULTS).map(({ name, value }) => [name, value]))

/** Returns the settings except those that every guest has, in their order. A text that is not JSON is one setting. */
export const savedSettings = (config: string): SavedSetting[] =>
  allSettings(config).filter(({ name, value }) => !OF_THE_GUEST.test(name) && DEFAULTS.get(name) !== value)

/** Returns the uuid; undefined where the configuration has none. */
export const savedUuid = (config: string): string | undefined =>
  allSettings(config).find(({ name }) => name === 'c_info.uuid')?.value

const allSettings = (config: string): SavedSetting[] => settingsOf(parsed(config))

function settingsOf(config: unknown): SavedSetting[] {
  const found: SavedSetting[] = []
  const walk = (name: string, value: unknown, depth: number): void => {
    const isInner = typeof value === 'object' && value !== null && Object.keys(value).length > 0
    if (isInner && depth < MAX_DEPTH) {
      const isList = Array.isArray(value)
      for (const [key, inner] of Object.entries(value)) {
        walk(isList ? `${name}[${key}]` : name === '' ? key : `${name}.${key}`, inner, depth + 1)
      }
    } else if (name !== '') {
      const text = typeof value === 'string' ? value : isInner ? '(nested too deep)' : JSON.stringify(value)
      found.push({ name, value: text })
    }
  }
  walk('', config, 0)
  return found
}

/** Returns the JSON, or the text where it is not an object. */
function parsed(config: string): unknown {
  try {
    const value: unknown = JSON.parse(config)
    return typeof value === 'object' ? value : { '(no object)': value }
  } catch {
    return { '(not JSON)': config }
  }
}

/** The most settings that a summary names. */
const NAMED = 3

/** Returns their count, and the first that name files; undefined without settings. */
export function savedConfigSummary(config: string): string | undefined {
  const settings = savedSettings(config)
  if (settings.length === 0) return undefined
  const files = settings.filter(({ value }) => value.includes('/'))
  const named = files.slice(0, NAMED).map(({ name, value }) => `${name} = ${value}`)
  const more = files.length > NAMED ? ` and ${files.length - NAMED} more` : ''
  const count = settings.length === 1 ? '1 setting' : `${settings.length} settings`
  return named.length === 0 ? count : `${count}, among them ${named.join(', ')}${more}`
}
