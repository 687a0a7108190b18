/**
 * The bytes of a GDT: segment descriptors as the processor reads them.
 *
 * Source: Intel SDM vol. 3, 3.4.5 (https://www.intel.com/sdm).
 * Gotcha: a limit beyond 1 MiB counts pages, and then its low twelve bits are always ones.
 */
import { DESCRIPTOR_BYTES, DESCRIPTOR_G } from '../abi/x86.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { hex, PAGE_SHIFT } from '../units.js'
import type { SegmentState } from './vcpu.js'

const LIMIT_BITS = 20

/** The eight bytes of a segment's descriptor; zero without one. */
function encodeDescriptor({ descriptor }: SegmentState): bigint {
  if (descriptor === undefined) return 0n
  const { base, limit, attributes } = descriptor
  const pages = (attributes & DESCRIPTOR_G) !== 0
  const units = pages ? limit >>> PAGE_SHIFT : limit
  if (units >>> LIMIT_BITS !== 0 || base >> 32n !== 0n) {
    throw new DomainBuilderError('bad-range', 'the segment is not representable in a descriptor', {
      expected: 'a base below 4 GiB, and a limit of 20 bits, in bytes or pages',
      found: `base ${hex(base)}, limit ${hex(limit)}`,
    })
  }
  const [low, high] = [BigInt(units & 0xffff), BigInt(units >>> 16)]
  return (
    low |
    ((base & 0xffffffn) << 16n) |
    (BigInt(attributes & 0xff) << 40n) |
    (high << 48n) |
    (BigInt(attributes >>> 8) << 52n) |
    ((base >> 24n) << 56n)
  )
}

/**
 * Returns the segment that a processor has loaded. A null segment has no descriptor.
 * @param high the high half of its descriptor, which has the attributes next to parts of the base and the limit.
 */
export function loadedSegment(selector: number, base: bigint, limit: number, high: number): SegmentState {
  const attributes = ((high >>> 8) & 0xff) | ((high >>> 12) & 0xf00)
  const isNull = base === 0n && limit === 0 && attributes === 0
  return { selector: selector & 0xffff, ...defined({ descriptor: isNull ? undefined : { base, limit, attributes } }) }
}

/** A GDT with a descriptor for each of these selectors; the entries between are empty. */
export function encodeGdt(segments: readonly SegmentState[]): Uint8Array {
  const last = segments.reduce((most, { selector }) => Math.max(most, selector >>> 3), 0)
  const gdt = new BigUint64Array(last + 1)
  for (const segment of segments) gdt[segment.selector >>> 3] = encodeDescriptor(segment)
  return new Uint8Array(gdt.buffer, 0, gdt.length * DESCRIPTOR_BYTES)
}
