/**
 * Names of Xen's features.
 *
 * Source: xen/include/public/features.h.
 * Gotcha: a later Xen may set bits without a name here.
 */
import t from 'tap'
import { featureNames } from '../../lib/abi/features.js'

t.test('a word as names, in order of its bits', async (t) => {
  t.same(featureNames(0), [])
  t.same(featureNames(0b101), ['writable_page_tables', 'auto_translated_physmap'])
  t.same(featureNames(2 ** 31 + 1), ['writable_page_tables', 'bit 31'])
})
