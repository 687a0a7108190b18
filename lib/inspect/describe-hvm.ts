/**
 * The parts of a save file except memory and registers: HVM parameters, and the records that are kept unchanged. The
 * records of an HVM context are listed one by one.
 *
 * Source: xen/include/public/hvm/params.h; xen/include/public/arch-x86/hvm/save.h.
 * Gotcha: only Xen or a device model knows the meaning of a record, so only names and sizes are shown.
 */
import { HVM_PARAM } from '../abi/hvm-params.js'
import { HVM_SAVE_CODE } from '../abi/hvm-save.js'
import { decodeUtf8 } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, type HvmParam, LIBVIRT_XML, type SavedRecord } from '../guest/domain.js'
import { hvmRecords } from '../guest/hvm-context.js'
import { printable } from '../printable.js'
import { hex } from '../units.js'
import type { Json } from './json.js'
import { savedSettings } from './saved-config.js'
import { foldedTable, pairs } from './table.js'

/** Returns a table of names by number. */
const turned = (names: Readonly<Record<string, number>>): ReadonlyMap<number, string> =>
  new Map(Object.entries(names).map(([name, value]) => [value, name]))
const PARAM_NAMES = turned(HVM_PARAM)
const CODE_NAMES = turned(HVM_SAVE_CODE)
const paramName = (index: number): string => PARAM_NAMES.get(index) ?? `parameter ${index}`

export function describeHvmParams(params: readonly HvmParam[]): Json {
  return Object.fromEntries(params.map(({ index, value }) => [paramName(index), hex(value)]))
}

/** Returns the parameters as text for people; nothing without parameters. */
export function hvmParamsText(params: readonly HvmParam[]): string[] {
  if (params.length === 0) return []
  const rows = params.map(({ index, value }): [string, string] => [paramName(index), hex(value)])
  return ['HVM parameters', ...pairs(rows), '']
}

/** Returns the number of records of each type in an HVM context, by name; undefined for any other record. */
function partsOf({ name, body }: SavedRecord): Record<string, number> | undefined {
  if (name !== 'HVM_CONTEXT') return undefined
  const parts: Record<string, number> = {}
  try {
    for (const { typecode } of hvmRecords(body)) {
      const part = CODE_NAMES.get(typecode) ?? `type ${typecode}`
      parts[part] = (parts[part] ?? 0) + 1
    }
  } catch (error) {
    // A sidecar may hold anything under that name; the parts that were read before the error are kept.
    if (!(error instanceof DomainBuilderError)) throw error
  }
  return parts
}

/** Returns the text of libvirt's description; undefined for any other record. */
const textOf = ({ name, body }: SavedRecord): string | undefined =>
  name === LIBVIRT_XML ? decodeUtf8(body) : undefined

/** Returns the member `saved` of a guest that has been saved, and nothing for any other. */
export function describeSaved({ saved }: Domain): { readonly [key: string]: Json } {
  if (saved === undefined) return {}
  const records = saved.records.map((record) => {
    const parts = partsOf(record)
    return defined({ name: record.name, bytes: record.body.length, parts, text: textOf(record) })
  })
  const { config } = saved
  const settings = config === undefined ? undefined : savedSettings(config).map(({ name, value }) => ({ name, value }))
  return { saved: defined({ config: settings, records }) }
}

/** The most settings of a saved configuration, and lines of a text, that people are shown. */
const SETTINGS_SHOWN = 50
const LINES_SHOWN = 200

/** Returns the saved state as text for people. */
export function savedText({ saved }: Domain): string[] {
  if (saved === undefined) return []
  const rows = saved.records.map((record) => {
    const parts = Object.entries(partsOf(record) ?? {}).map(([name, count]) =>
      count > 1 ? `${name} x ${count}` : name,
    )
    return [printable(record.name), String(record.body.length), parts.join(', ')]
  })
  const records = rows.length === 0 ? [] : foldedTable(['record', '>bytes', 'parts'], rows)
  const settings = saved.config === undefined ? [] : savedSettings(saved.config)
  const shown = settings.slice(0, SETTINGS_SHOWN).map(({ name, value }) => [printable(name), printable(value)])
  const more = settings.length > SETTINGS_SHOWN ? [`  and ${settings.length - SETTINGS_SHOWN} more (--json)`] : []
  const config = settings.length === 0 ? [] : [...foldedTable(['configuration', 'value'], shown), ...more]
  const kept = [...records, ...config, ...saved.records.flatMap(recordText)]
  return kept.length === 0 ? [] : ['', 'kept for the toolstack', ...kept]
}

/** Returns the lines of a record that is a text. */
function recordText(record: SavedRecord): string[] {
  const text = textOf(record)
  if (text === undefined) return []
  const lines = text.trimEnd().split('\n')
  const more = lines.length > LINES_SHOWN ? [`  and ${lines.length - LINES_SHOWN} more (--json)`] : []
  return ['', record.name, ...lines.slice(0, LINES_SHOWN).map((line) => `  ${printable(line)}`), ...more]
}
