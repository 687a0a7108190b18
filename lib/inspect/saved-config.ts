/**
 * What the configuration that a guest was saved with asks of a toolstack, beyond the guest itself.
 *
 * Source: Xen tools/libs/light/libxl_types.idl; ../snapshot/domain-config.ts writes the settings that every guest has.
 * Gotcha: xl does what the configuration in a save file says: it starts the device model and opens the disks named there.
 * A file from an untrusted source can name any.
 */

/** One value of the configuration. */
export interface SavedSetting {
  /** Where it stands: `disks[0].pdev_path`. */
  readonly name: string
  /** Text as it is, anything else as JSON. */
  readonly value: string
}

/** The guest itself. */
const OF_THE_GUEST =
  /^(c_info\.(type|name|uuid)|b_info\.(max_vcpus|avail_vcpus(\[\d+\])?|max_memkb|target_memkb|type\.(pv|pvh|hvm)))$/
/** Lists and objects within one another that are looked into. libxl's are 5 deep. */
const MAX_DEPTH = 16

/** The settings of a configuration except those that every guest has, in their order. A text that is not JSON is one. */
export function savedSettings(config: string): SavedSetting[] {
  const found: SavedSetting[] = []
  const walk = (name: string, value: unknown, depth: number): void => {
    const isInner = typeof value === 'object' && value !== null && Object.keys(value).length > 0
    if (isInner && depth < MAX_DEPTH) {
      const isList = Array.isArray(value)
      for (const [key, inner] of Object.entries(value)) {
        walk(isList ? `${name}[${key}]` : name === '' ? key : `${name}.${key}`, inner, depth + 1)
      }
    } else if (name !== '' && !OF_THE_GUEST.test(name)) {
      const text = typeof value === 'string' ? value : isInner ? '(nested too deep)' : JSON.stringify(value)
      found.push({ name, value: text })
    }
  }
  walk('', parsed(config), 0)
  return found
}

/** The JSON, or the text where it is no object. */
function parsed(config: string): unknown {
  try {
    const value: unknown = JSON.parse(config)
    return typeof value === 'object' ? value : { '(no object)': value }
  } catch {
    return { '(not JSON)': config }
  }
}

/** Settings that a summary names. */
const NAMED = 3

/** How many there are, and the first that name files; undefined where there are none. */
export function savedConfigSummary(config: string): string | undefined {
  const settings = savedSettings(config)
  if (settings.length === 0) return undefined
  const files = settings.filter(({ value }) => value.includes('/'))
  const named = files.slice(0, NAMED).map(({ name, value }) => `${name} = ${value}`)
  const more = files.length > NAMED ? ` and ${files.length - NAMED} more` : ''
  const count = settings.length === 1 ? '1 setting' : `${settings.length} settings`
  return named.length === 0 ? count : `${count}, among them ${named.join(', ')}${more}`
}
