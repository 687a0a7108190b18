/**
 * requirePeer: a test that needs another program gets it, or is skipped with the reason, or, in CI, fails.
 *
 * Source: our own rule: a comparison that silently did not happen must never look like one that passed.
 * Gotcha: call it before the first assertion of a test; a skip is a plan of zero, and nothing may follow it.
 */
/** What was looked for, or why it is not there. */
export type Found<T> = { readonly found: T } | { readonly missing: string }

/** A test, or what stands for one: how it fails, and how it is over before it began. */
export interface Skipper {
  fail(reason: string): unknown
  plan(count: 0, reason: string): unknown
}

/** The peer, or undefined when the test is over: skipped here, failed in CI. */
export async function requirePeer<T>(t: Skipper, find: () => Promise<Found<T>>): Promise<T | undefined> {
  const result = await find()
  if ('found' in result) return result.found
  if (process.env.CI) t.fail(`CI must have every peer: ${result.missing}`)
  else t.plan(0, result.missing)
  return undefined
}
