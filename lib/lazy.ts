/**
 * Packages that are loaded when they are first used, since loading them costs more than all of this library does.
 *
 * Source: https://nodejs.org/api/module.html#modulecreaterequirefilename; the figures are in ARCHITECTURE.md.
 * Gotcha: this is for CommonJS alone, which can be loaded without waiting; the packages keep one door each.
 */
import { createRequire } from 'node:module'

/** Node's own, for a door to load its package by. */
export const require: NodeJS.Require = createRequire(import.meta.url)

/** A function that makes its value when it is first called, and gives the same one ever after. */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/** Node's own libraries that take a while to load. */
export const crypto = lazy(() => require('node:crypto') as typeof import('node:crypto'))
export const stream = lazy(() => require('node:stream') as typeof import('node:stream'))
export const zlib = lazy(() => require('node:zlib') as typeof import('node:zlib'))
