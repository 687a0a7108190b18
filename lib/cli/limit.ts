/**
 * The option --limit of commands whose answer is a list.
 *
 * Source: grep(1), -m.
 * Gotcha: the work ends with the last item that is asked for, so a limit makes a command faster.
 */
import { invalidValue, type Option, text, type Values } from './command.js'

/** The option of a command that can end early. */
export const limitOption = {
  type: 'string',
  value: 'N',
  elsewhere: ['max-count', 'm', 'max'],
  help: 'ends after so many results',
} as const satisfies Option

/** Returns the number of items after which to end. */
export function limitOf(values: Values): number {
  const given = text(values, 'limit')
  if (given === undefined) return Number.POSITIVE_INFINITY
  if (!/^[1-9]\d{0,14}$/.test(given)) throw invalidValue('--limit', given, 'a number of at least 1')
  return Number(given)
}

/** Yields the first items, at most `most`. */
export async function* first<T>(items: AsyncIterable<T>, most: number): AsyncGenerator<T> {
  let count = 0
  for await (const item of items) {
    yield item
    if (++count >= most) return
  }
}
