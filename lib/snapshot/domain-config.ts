/**
 * The configuration of a domain as libxl writes it into a save file: JSON.
 *
 * Source: Xen tools/libs/light/libxl_types.idl (names and units only); files of xl 4.17.
 * Gotcha: memory is KiB, and avail_vcpus must list every vcpu that is to come up: without it, only the first does.
 */
import { toHex } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { BootInfo, Domain, HvmBoot, PvBoot, PvhBoot } from '../guest/domain.js'
import { MAX_VCPUS } from '../guest/vcpu.js'
import { sha256 } from '../sha256.js'
import { PAGE_SIZE, type Paddr, paddrOf } from '../units.js'
import { JsonValue } from './json-value.js'

const MAX_KIB = 2 ** 42
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Returns a UUID made from the content that identifies the guest, so the same guest always has the same UUID. It is
 * version 8 of RFC 9562, the version for custom values.
 */
function domainUuid(domain: Domain<PvBoot | PvhBoot | HvmBoot>): string {
  const startInfo = startInfoOf(domain.boot)
  const bytes = sha256(
    JSON.stringify([domain.name, domain.type, domain.abi, domain.memory.pageCount, domain.vcpus.length]),
    startInfo === undefined ? '' : domain.memory.read(startInfo, PAGE_SIZE),
    domain.kernel?.sha256 ?? '',
  ).subarray(0, 16)
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function startInfoOf(boot: BootInfo): Paddr | undefined {
  if (boot.kind === 'start_info') return paddrOf(boot.startInfo.pfn)
  return boot.kind === 'hvm_start_info' ? boot.hvmStartInfo : undefined
}

/**
 * Returns the configuration that xl needs to make the domain that the stream is restored into.
 * @throws DomainBuilderError `bad-config` for an invalid uuid.
 */
export function domainConfig(domain: Domain<PvBoot | PvhBoot | HvmBoot>, uuid = domainUuid(domain)): string {
  if (!UUID.test(uuid)) {
    throw new DomainBuilderError('bad-config', 'the uuid is invalid', {
      expected: 'a UUID such as 123e4567-e89b-12d3-a456-426614174000',
      found: `'${uuid}'`,
    })
  }
  const kib = (bytes: number): number => Math.ceil(bytes / 1024)
  const config = {
    c_info: { type: domain.type, name: domain.name, uuid },
    b_info: {
      max_vcpus: domain.vcpus.length,
      avail_vcpus: domain.vcpus.map(({ id }) => id),
      max_memkb: kib(domain.maxmem),
      // A PVH or HVM guest has special pages in addition to its memory.
      target_memkb: kib(Math.min(domain.maxmem, domain.memory.pageCount * PAGE_SIZE)),
      [`type.${domain.type}`]: {},
    },
  }
  return `${JSON.stringify(config, null, 4)}\n`
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
