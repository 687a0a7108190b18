/**
 * Code with branches of each kind, of which some run, for the tests of the measurement.
 *
 * Source: none; ./coverage.test.ts runs it in a separate process.
 * Gotcha: the test compares lines and columns, so each branch stays where it is.
 */
export const either = (value: number | undefined): number => (value === undefined ? 0 : value)
export const orElse = (value?: { n?: number }): number => value?.n ?? 7
export const never = (): number => 1

export function early(value: number): string {
  if (value > 0) {
    return 'positive'
  }

  // The rest, after a comment.
  return 'other'
}

export function guarded(act: () => number): number {
  try {
    return act()
  } catch {
    return -1
  }
}

either(5)
orElse({ n: 1 })
early(1)
guarded(() => 2)
