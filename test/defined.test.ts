/**
 * Members without a value are absent, not undefined.
 *
 * Source: lib/defined.ts.
 * Gotcha: null, 0, '' and false are values.
 */
import t from 'tap'
import { defined } from '../lib/defined.js'

t.test('only undefined is left out, and the order stays', async (t) => {
  const values = { a: undefined, b: null, c: 0, d: '', e: false, f: [1] as number[] | undefined }
  t.same(Object.entries(defined(values)), [
    ['b', null],
    ['c', 0],
    ['d', ''],
    ['e', false],
    ['f', [1]],
  ])
})

t.test('a member that may be undefined is an optional one of the type', async (t) => {
  const made: { readonly kind: 'x'; readonly pages?: number } = defined({
    kind: 'x',
    pages: undefined as number | undefined,
  })
  t.same(Object.keys(made), ['kind'])
})
