/**
 * lazy: a value that is made when it is first used.
 *
 * Source: our own. Importing the library only declares; the figures are in ARCHITECTURE.md.
 * Gotcha: `make` should not fail for a reason that may go away: it is asked again only after it threw.
 */

/** A function that makes its value when it is first called, and returns the same one from then on. */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
