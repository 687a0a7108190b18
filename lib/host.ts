/**
 * The parts of Node that other runtimes have too. The core uses them where they exist, and needs none of them.
 *
 * Source: https://nodejs.org/api/process.html#processgetbuiltinmoduleid, in Node 20.16 and later, Bun and Deno.
 * Gotcha: an import of node:crypto would break bundles for browsers. Bundlers do not see a module that
 * getBuiltinModule() loads, at its first use.
 */
interface Host {
  readonly env?: { readonly DEBUG?: string }
  readonly stderr?: { readonly isTTY?: boolean }
  getBuiltinModule?(name: 'node:crypto'): typeof import('node:crypto')
  getBuiltinModule?(name: 'node:buffer'): typeof import('node:buffer')
}

/** This runtime's `process`, or an empty object. */
const host = (): Host => (globalThis as { readonly process?: Host }).process ?? {}

/** Node's crypto, or undefined in a runtime without it. */
export const nodeCrypto = (): typeof import('node:crypto') | undefined => host().getBuiltinModule?.('node:crypto')

/** Returns Node's comparison of bytes, which is many times as fast as a loop; undefined in a runtime without it. */
export const nodeCompare = (): ((a: Uint8Array, b: Uint8Array) => number) | undefined =>
  host().getBuiltinModule?.('node:buffer').Buffer.compare

/** Returns Node's search for bytes in bytes, which is many times as fast as a loop; undefined in a runtime without it. */
export function nodeIndexOf(): ((bytes: Uint8Array, part: Uint8Array, from: number) => number) | undefined {
  const node = host().getBuiltinModule?.('node:buffer').Buffer
  if (node === undefined) return undefined
  return (bytes, part, from) => node.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(part, from)
}

/** The DEBUG variable; empty if the environment may not be read, as under Deno. */
export function debugVariable(): string {
  try {
    return host().env?.DEBUG ?? ''
  } catch {
    return ''
  }
}

/** Whether stderr is a terminal. */
export const isTerminal = (): boolean => host().stderr?.isTTY === true
