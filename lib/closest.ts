/**
 * Did you mean: the known word closest to a mistyped one.
 *
 * Source: the optimal string alignment distance, https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance
 * Gotcha: at most a third of the letters may be wrong. With a fixed limit, a short word would match almost any other.
 */

/** The most characters that are compared: no known word is longer, and long text would be slow. */
const LONGEST = 40

/**
 * The word to suggest for a mistyped one, or undefined if none is close. A word that begins with the typed one counts
 * as close if there is only one such word.
 */
export function closest(typed: string, known: readonly string[]): string | undefined {
  if (typed === '' || typed.length > LONGEST) return undefined
  const word = typed.toLowerCase()
  let found: string | undefined
  let least = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    // Each extra letter is an edit.
    if (Math.abs(candidate.length - word.length) >= least) continue
    const edits = distance(word, candidate.toLowerCase())
    if (edits < least) [found, least] = [candidate, edits]
  }
  if (found !== undefined) return found
  const continued = known.filter((candidate) => candidate.toLowerCase().startsWith(word))
  return continued.length === 1 ? continued[0] : undefined
}

/** `; did you mean X?`, or nothing: the end of a message about a mistyped word. */
export function didYouMean(typed: string, known: readonly string[]): string {
  const found = closest(typed, known)
  return found === undefined ? '' : `; did you mean ${found}?`
}

/** The number of letters to insert, delete, replace or swap with their neighbour. */
function distance(a: string, b: string): number {
  let [before, row]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, i) => i)]
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let least = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced)
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, (before[j - 2] ?? 0) + 1)
      next.push(least)
    }
    before = row
    row = next
  }
  return row[b.length] ?? 0
}
