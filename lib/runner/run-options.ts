/**
 * The checks before a run.
 *
 * Source: our own rules; https://nodejs.org/api/timers.html#settimeoutcallback-delay-args for the longest timer.
 * Gotcha: Node takes a timer that is too long for one of a millisecond.
 */
import { DomainBuilderError } from '../errors.js'
import { shown } from '../units.js'
import type { RunOptions } from './guest-run.js'

/** The most seconds of a timer, which counts milliseconds in 31 bits. */
const TIMEOUT_MAX = Math.floor((2 ** 31 - 1) / 1000)

/** @throws DomainBuilderError `bad-config` for options of the wrong kind. */
export function requireRunOptions({ timeout, stops = [] }: RunOptions): void {
  if (!(typeof timeout === 'number' && timeout > 0 && timeout <= TIMEOUT_MAX)) {
    throw new DomainBuilderError('bad-config', 'the timeout of a run is invalid', {
      expected: `above 0, at most ${TIMEOUT_MAX} seconds`,
      found: shown(timeout),
    })
  }
  const wrong = stops.find((at) => typeof at !== 'bigint' || at < 0n || at >= 1n << 64n)
  if (wrong === undefined) return
  throw new DomainBuilderError('bad-config', 'a stop of a run is invalid', {
    expected: 'a virtual address, a bigint of 64 bits',
    found: shown(wrong),
  })
}

/** Returns the error with which work refuses its input, or undefined. */
export function errorOf(work: () => unknown): DomainBuilderError | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (error instanceof DomainBuilderError) return error
    throw error
  }
}

/** Returns what `prepare` makes of the guest. @throws DomainBuilderError `bad-config` if it refuses the guest. */
export function requireRunnable<T>(machine: string, prepare: () => T): T {
  try {
    return prepare()
  } catch (cause) {
    if (!(cause instanceof DomainBuilderError)) throw cause
    throw new DomainBuilderError('bad-config', `${machine} cannot run the guest: ${cause.message}`, { cause })
  }
}
