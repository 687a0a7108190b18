/**
 * The options of a dom0, the guest that Xen itself starts.
 *
 * Source: ../protocol/pv-config.ts and pvh-config.ts have their meanings.
 * Gotcha: only a PVH dom0 has its memory where the host's RAM is.
 */
import type { Paddr, Range } from '../units.js'
import { type Options, texts, UsageError, type Values } from './command.js'
import { addressRange } from './linux-options.js'

export const dom0Options = {
  dom0: {
    type: 'boolean',
    help: 'the guest is the hardware domain, as Xen itself builds it',
    types: ['pv', 'pvh'],
  },
  'host-ram': {
    type: 'string',
    multiple: true,
    value: 'START-END',
    help: 'a usable range of the e820 of the host, where a PVH dom0 has its memory; may be given more than once',
    types: ['pvh'],
  },
} as const satisfies Options

/**
 * Returns the part of a configuration that these options set.
 * @throws UsageError for one option without the other.
 */
export function readDom0(
  values: Values,
  type: string,
): { readonly dom0?: { readonly hostRam?: readonly Range<Paddr>[] } } {
  const hostRam = texts(values, 'host-ram').map((given) => addressRange(given, 'host-ram'))
  if (values.dom0 !== true) {
    if (hostRam.length > 0) throw new UsageError('--host-ram needs --dom0')
    return {}
  }
  if (type !== 'pvh') return { dom0: {} }
  if (hostRam.length > 0) return { dom0: { hostRam } }
  throw new UsageError('--dom0 of type pvh needs --host-ram START-END for each usable range of the e820 of the host')
}
