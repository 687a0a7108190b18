/**
 * Targets with planted faults, to test that the fuzzer finds them.
 *
 * Source: our own.
 * Gotcha: coverage does not see progress within one condition, so each byte has a separate one.
 */
import { type Target, WrongAnswer } from './target.js'

const planted = (name: string, run: Target['run']): Target => ({
  name,
  executions: 10_000,
  maxBytes: 16,
  seeds: async () => [new Uint8Array(8)],
  run,
})

/** The memory that the memory target keeps. */
export let kept: Uint8Array | undefined

export const PLANTED = {
  /** Throws an unexpected error when two bytes are adjacent, at any offset. */
  pair: planted('pair', (bytes) => {
    for (let i = 1; i < bytes.length; i++)
      if (bytes[i - 1] === 0x7f && bytes[i] === 0xff) throw new TypeError('the pair was not expected')
  }),

  /** Fails after three conditions; chance alone meets each of them in one of a thousand inputs. */
  behindConditions: planted('behindConditions', (bytes) => {
    if (bytes[0] !== 0x58) return
    if (bytes[1] !== 0x65) return
    if (bytes[2] !== 0x6e) return
    throw new WrongAnswer('all conditions hold')
  }),

  /** Keeps more memory than an input may cost. */
  memory: planted('memory', (bytes) => {
    if (bytes[0] === 0xff) kept = new Uint8Array(300 * 2 ** 20)
  }),

  /** Has no fault. */
  sound: planted('sound', () => undefined),
} as const
