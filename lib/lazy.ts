/**
 * lazy: a value made at its first use.
 *
 * Source: our own. Importing the library only declares; the figures are in bench/README.md, "Importing".
 * Gotcha: a returned value is kept for good, even if it reports a failure that may go away. `make` is called again only
 * after it threw.
 */

/** Returns a function that makes its value at the first call and returns the same value from then on. */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
