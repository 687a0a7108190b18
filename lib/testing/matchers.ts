/**
 * guestMatchers: the assertions as matchers of `expect`, for vitest and every runner with its `expect.extend`.
 *
 * Source: https://vitest.dev/guide/extending-matchers
 * Gotcha: `expect(guest).not.toMatchGuest(...)` passes if one value differs, not if all of them do.
 */
import { assertGuest, assertMapped, assertMemory, assertRegisters, assertTables, assertValid } from './assert.js'
import { AssertionError } from './compare.js'

/** The answer of a matcher. */
export interface MatcherResult {
  readonly pass: boolean
  /** Returns the differences; of a negated matcher that fails, the assertion that holds. */
  readonly message: () => string
  /** The parts that were compared, if they differ. */
  readonly actual?: unknown
  readonly expected?: unknown
}

/** A matcher with the arguments of an assertion. */
export type GuestMatcher<Given extends unknown[]> = (...given: Given) => MatcherResult

/** Returns an assertion as a matcher. @throws the errors of the assertion that are no comparison. */
const matcher =
  <Given extends unknown[]>(name: string, assertion: (...given: Given) => void): GuestMatcher<Given> =>
  (...given) => {
    try {
      assertion(...given)
      return { pass: true, message: () => `${name} holds for the guest` }
    } catch (error) {
      if (!(error instanceof AssertionError)) throw error
      const { message, actual, expected } = error
      return { pass: false, message: () => message, actual, expected }
    }
  }

/**
 * Matchers for `expect.extend`. Each takes the arguments of its assertion after the guest.
 *
 * @example
 * ```ts
 * expect.extend(guestMatchers) // expect and test are vitest's
 * test('it starts at its entry', () => {
 *   expect(guest).toHaveRegisters({ rip: 0x100000n })
 *   expect(guest).toMatchGuest({ type: 'pvh', vcpus: [{ online: true }] })
 * })
 * ```
 */
export const guestMatchers = {
  /** assertGuest() */
  toMatchGuest: matcher('toMatchGuest', assertGuest),
  /** assertRegisters() */
  toHaveRegisters: matcher('toHaveRegisters', assertRegisters),
  /** assertMemory() */
  toHaveMemory: matcher('toHaveMemory', assertMemory),
  /** assertMapped() */
  toMap: matcher('toMap', assertMapped),
  /** assertTables() */
  toHaveTables: matcher('toHaveTables', assertTables),
  /** assertValid() */
  toBeValid: matcher('toBeValid', assertValid),
} as const
