/**
 * The tree of a pattern over bytes: sets of byte values, one after another, to choose from, or repeated.
 *
 * Source: the words are those of automata theory.
 * Gotcha: a repeat of a repeat multiplies. ./pattern.ts checks the size of a tree before anything is made from it.
 */

/** A set of byte values: 1 for each value in it. */
export type ByteSet = Uint8Array

/** A part of a pattern. */
export type PatternNode =
  | { readonly kind: 'set'; readonly set: ByteSet }
  | { readonly kind: 'sequence'; readonly parts: readonly PatternNode[] }
  | { readonly kind: 'choice'; readonly options: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly part: PatternNode; readonly least: number; readonly most: number }

/** Returns the set of those byte values. */
export function byteSet(values: Iterable<number>): ByteSet {
  const set = new Uint8Array(256)
  for (const value of values) set[value] = 1
  return set
}

/** The set of all byte values from `first` to `last`. */
export const byteRange = (first: number, last: number): ByteSet => new Uint8Array(256).fill(1, first, last + 1)

/** Returns the bytes one after another. */
export const literal = (bytes: Iterable<number>): PatternNode => ({
  kind: 'sequence',
  parts: Array.from(bytes, (byte) => ({ kind: 'set', set: byteSet([byte]) })),
})

/** The number of copies of its part that a repeat is expanded into. */
export const copiesOf = ({ least, most }: { readonly least: number; readonly most: number }): number =>
  Math.max(1, most === Number.POSITIVE_INFINITY ? least : most)

/** Whether a match can have that byte anywhere. */
export function canRead(node: PatternNode, byte: number): boolean {
  switch (node.kind) {
    case 'set':
      return node.set[byte] === 1
    case 'sequence':
      return node.parts.some((part) => canRead(part, byte))
    case 'choice':
      return node.options.some((option) => canRead(option, byte))
    case 'repeat':
      return node.most > 0 && canRead(node.part, byte)
  }
}
