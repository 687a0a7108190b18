/**
 * The parts of Node that other runtimes have too, and that the core makes use of where they are: it needs none of them.
 *
 * Source: https://nodejs.org/api/process.html#processgetbuiltinmoduleid, in Node 20.16 and later, Bun and Deno.
 * Gotcha: a module that is asked for by getBuiltinModule() is seen by no bundler, and loaded when it is first used.
 */
interface Host {
  readonly env?: { readonly DEBUG?: string }
  readonly stderr?: { readonly isTTY?: boolean }
  getBuiltinModule?(name: 'node:crypto'): typeof import('node:crypto')
}

/** This runtime's `process`, or an empty object. */
const host = (): Host => (globalThis as { readonly process?: Host }).process ?? {}

/** Node's crypto. */
export const nodeCrypto = (): typeof import('node:crypto') | undefined => host().getBuiltinModule?.('node:crypto')

/** The DEBUG variable; nothing where the environment may not be read, as under Deno. */
export function debugVariable(): string {
  try {
    return host().env?.DEBUG ?? ''
  } catch {
    return ''
  }
}

/** Whether stderr is a terminal. */
export const isTerminal = (): boolean => host().stderr?.isTTY === true
