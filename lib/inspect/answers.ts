/**
 * The answers that --json gives, with the name and version that show a program the shape of each.
 *
 * Source: schemas/NAME-VERSION.json, one JSON Schema for each; they are published with the package.
 * Gotcha: a published schema never changes. A new shape is a new version: a new file there, and its number here.
 */

/** Every answer, and its current version. */
export const ANSWERS = {
  error: 1,
  help: 1,
  version: 1,
  kernel: 1,
  guest: 1,
  verdicts: 1,
  violations: 1,
  extract: 1,
  map: 1,
  drawing: 1,
  walk: 1,
  build: 1,
  test: 1,
  convert: 1,
  read: 1,
  search: 1,
  strings: 1,
  create: 1,
  list: 1,
  capture: 1,
  destroy: 1,
  watch: 1,
  'guest-diff': 1,
  'kernel-diff': 1,
  delta: 1,
  stats: 1,
  completion: 1,
} as const
/** One of the keys of ANSWERS. */
export type AnswerName = keyof typeof ANSWERS

/** Returns the member `schema` of an answer: `xen-domain-builder/guest/1`. */
export const schemaOf = (name: AnswerName): string => `xen-domain-builder/${name}/${ANSWERS[name]}`
