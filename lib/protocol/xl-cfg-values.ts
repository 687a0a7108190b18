/**
 * Checked values of an xl.cfg's keys.
 *
 * Source: Xen's tools/libs/util/libxlu_cfg.c (the meanings, not the code).
 * Gotcha: xl only warns of an invalid number and ignores the key; here the file is refused.
 */
import { DomainBuilderError } from '../errors.js'
import type { XlCfgSetting } from './xl-cfg.js'

/** The settings of a file, by key. */
export type XlCfgSettings = ReadonlyMap<string, XlCfgSetting>

export function refuse(key: string, expected: string, found: string): never {
  throw new DomainBuilderError('bad-config', `the xl.cfg's ${key} is invalid`, { expected, found })
}

export function optionalString(settings: XlCfgSettings, key: string): string | undefined {
  const value = settings.get(key)?.value
  return value === undefined || typeof value === 'string' ? value : refuse(key, 'one value', 'a list')
}

/** Returns a whole number as strtol reads it with base 0: 0x hex, 0 octal, else decimal. */
export function optionalCount(settings: XlCfgSettings, key: string): number | undefined {
  const given = optionalString(settings, key)
  if (given === undefined) return undefined
  if (settings.get(key)?.added) refuse(key, 'a number set by =', `'${given}' joined by +=`)
  const [, octal, other] = /^\s*\+?(?:0([0-7]{1,14})|(0x[0-9a-f]{1,11}|0|[1-9]\d{0,12}))$/i.exec(given) ?? []
  if (octal !== undefined) return Number.parseInt(octal, 8)
  return other === undefined ? refuse(key, 'a whole number', `'${given}'`) : Number(other)
}

/** Returns the strings of a list. The key is set. */
export function listOf(settings: XlCfgSettings, key: string): readonly string[] {
  const { value } = settings.get(key) as XlCfgSetting
  if (typeof value === 'string') return refuse(key, 'a list', `'${value}'`)
  return value.map((item) => (typeof item === 'string' ? item : refuse(key, 'a list of values', 'a list of lists')))
}
