/**
 * Lists of any length: adding to one, and its largest number.
 *
 * Source: our own. `list.push(...items)` and `Math.max(...numbers)` pass each item on the stack.
 * Gotcha: a list made from a file may be longer than the stack. The stack of a worker in a browser is a fraction of
 * Node's.
 */

/** Adds the items at the end of the list. */
export function append<T>(list: T[], ...parts: readonly Iterable<T>[]): void {
  for (const items of parts) for (const item of items) list.push(item)
}

/** Returns the largest of the numbers, and at least `least`. */
export const largest = (numbers: Iterable<number>, least: number): number => {
  let most = least
  for (const number of numbers) if (number > most) most = number
  return most
}
