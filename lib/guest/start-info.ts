/**
 * readStartInfo: reads start_info from the memory of any guest, built here or not.
 *
 * Source: xen/include/public/xen.h, struct start_info.
 * Gotcha: words are bigint for 32-bit guests too, so that one reader serves both ABIs. The ABI selects the layout, not
 * the magic.
 */
import {
  DOM0_PAE_MAGIC,
  SIF_INITDOMAIN,
  START_INFO_MAGIC,
  StartInfo32,
  StartInfo64,
  type StartInfo64Fields,
} from '../abi/start-info.js'
import { DomainBuilderError } from '../errors.js'
import { paddrOf } from '../units.js'
import type { Domain } from './domain.js'

/** start_info, its fields named as in xen/include/public/xen.h; words of the guest are bigint, u32 are numbers. */
export type StartInfo = StartInfo64Fields

/** Fields that are u32 in both ABIs stay numbers. */
const NUMBERS: readonly string[] = ['flags', 'store_evtchn', 'console_evtchn']

/**
 * Decodes start_info at the place in the boot information.
 * @throws DomainBuilderError `bad-snapshot` if the magic is not that of the guest's ABI, `bad-config` for a guest
 * without start_info.
 */
export function readStartInfo(domain: Domain): StartInfo {
  const is64 = domain.abi === 'x86_64'
  const startInfo = 'startInfo' in domain.boot ? domain.boot.startInfo : undefined
  if (startInfo === undefined) {
    throw new DomainBuilderError('bad-config', 'the guest has no start_info', {
      expected: 'a PV guest, or one whose hardware_subarch_data points to it',
      found: domain.type,
    })
  }
  const bytes = domain.memory.read(paddrOf(startInfo.pfn), StartInfo64.size)
  const fields = is64 ? StartInfo64.decode(bytes) : widen(StartInfo32.decode(bytes))
  const abi = is64 ? 'x86_64' : 'x86_32p'
  const magic = START_INFO_MAGIC[abi]
  const isDom0 = (fields.flags & SIF_INITDOMAIN) !== 0
  if (fields.magic !== magic && !(isDom0 && fields.magic === DOM0_PAE_MAGIC[abi])) {
    throw new DomainBuilderError('bad-snapshot', 'start_info has the wrong magic', {
      expected: `'${magic}'`,
      found: `'${fields.magic}'`,
    })
  }
  return fields
}

function widen(fields: Record<string, string | number>): StartInfo {
  const entries = Object.entries(fields).map(([name, value]) => [
    name,
    typeof value === 'number' && !NUMBERS.includes(name) ? BigInt(value) : value,
  ])
  return Object.fromEntries(entries) as StartInfo
}
