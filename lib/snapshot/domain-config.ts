/**
 * The configuration of a domain in a save file: the part that a Domain has, and the whole with another uuid.
 *
 * Source: Xen tools/libs/light/libxl_types.idl (names and units only); files of xl 4.17.
 * Gotcha: memory is KiB. A saved configuration is written as it was read, since libxl's defaults may change.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain, HvmBoot, PvBoot, PvhBoot } from '../guest/domain.js'
import { configText, libxlConfig } from '../guest/libxl-config.js'
import { MAX_VCPUS } from '../guest/vcpu.js'
import { JsonValue } from './json-value.js'

const MAX_KIB = 2 ** 42
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Returns the configuration that xl needs to make the domain that the stream is restored into: the saved one, or one
 * made from the guest.
 * @param uuid replaces the saved one. Default: the saved one, or one made from the guest's content.
 * @throws DomainBuilderError `bad-config` for an invalid uuid; `bad-snapshot` for a saved configuration that cannot
 *   take a uuid.
 */
export function domainConfig(domain: Domain<PvBoot | PvhBoot | HvmBoot>, uuid?: string): string {
  if (uuid !== undefined && !UUID.test(uuid)) {
    throw new DomainBuilderError('bad-config', 'the uuid is invalid', {
      expected: 'a UUID such as 123e4567-e89b-12d3-a456-426614174000',
      found: `'${uuid}'`,
    })
  }
  const saved = domain.saved?.config
  if (saved === undefined) return libxlConfig(domain, {}, uuid)
  return uuid === undefined ? saved : withUuid(saved, uuid)
}

/** Returns a saved configuration with another uuid. */
function withUuid(config: string, uuid: string): string {
  const json = JsonValue.parse(config, 'domain configuration')
  json.optional('c_info', (at) => at.keys())
  const settings = JSON.parse(config) as { readonly c_info?: object }
  return configText({ ...settings, c_info: { ...settings.c_info, uuid } })
}

export interface ReadConfig {
  readonly name: string
  readonly type: 'pv' | 'pvh' | 'hvm' | undefined
  readonly vcpus: number | undefined
  /** In bytes. */
  readonly maxmem: number | undefined
}

/** Returns the settings that a Domain uses. @throws DomainBuilderError `bad-snapshot` for invalid JSON or values. */
export function readConfig(text: string): ReadConfig {
  const json = JsonValue.parse(text, 'domain configuration')
  const build = json.at('b_info')
  const create = json.at('c_info')
  return {
    name: create.optional('name', (at) => at.string()) ?? '',
    type: create.optional('type', (at) => at.oneOf('pv', 'pvh', 'hvm')),
    vcpus: build.optional('max_vcpus', (at) => at.integer(1, MAX_VCPUS)),
    maxmem: build.optional('max_memkb', (at) => at.integer(0, MAX_KIB) * 1024),
  }
}
