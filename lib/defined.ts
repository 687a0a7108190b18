/**
 * defined: an object whose members are there only when they have a value.
 *
 * Source: https://www.typescriptlang.org/tsconfig/#exactOptionalPropertyTypes
 * Gotcha: a getter is read once, and its value kept. The order of the members stays, since JSON shows it.
 */

/** The type without undefined: a member that may be undefined is an optional one. */
type Defined<T> = {
  readonly [K in keyof T as undefined extends T[K] ? never : K]: T[K]
} & {
  readonly [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
}

/** Returns the object without the members that are undefined. */
export function defined<const T extends object>(values: T): Defined<T> {
  const out = {} as { [K in keyof T]: T[K] }
  for (const key in values) if (values[key] !== undefined) out[key] = values[key]
  return out as unknown as Defined<T>
}
