/**
 * Exactly one of a few keys, as a type.
 *
 * Source: https://www.typescriptlang.org/docs/handbook/2/mapped-types.html
 * Gotcha: a plain union of `{ a } | { b }` accepts an object that has both.
 */

/** An object that has exactly one of the keys of `T`. */
export type OneOf<T> = {
  [K in keyof T]: { readonly [P in K]: T[P] } & { readonly [P in Exclude<keyof T, K>]?: never }
}[keyof T]
