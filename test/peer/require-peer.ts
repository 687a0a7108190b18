/**
 * requirePeer gives a test the program that it needs, or skips it with the reason, or, in CI, fails it.
 *
 * Source: our own rule: a comparison that did not happen must never look like one that passed.
 * Gotcha: a skip is a plan of zero, so an assertion before or after it fails; call this before the first assertion.
 */
/** The result of a search, or the reason that it found nothing. */
export type Found<T> = { readonly found: T } | { readonly missing: string }

/** A test, or an object in its place: its ways to fail, and to end before the first assertion. */
export interface Skipper {
  fail(reason: string): unknown
  plan(count: 0, reason: string): unknown
}

/** Returns the peer, or undefined if the test is over: skipped here, failed in CI. */
export async function requirePeer<T>(t: Skipper, find: () => Promise<Found<T>>): Promise<T | undefined> {
  const result = await find()
  if ('found' in result) return result.found
  if (process.env.CI) t.fail(`CI must have every peer: ${result.missing}`)
  else t.plan(0, result.missing)
  return undefined
}
