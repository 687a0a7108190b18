/**
 * Where the peers' sources are, and where what is made or fetched for them is kept.
 *
 * Source: our own layout: sources beside this file's TypeScript, everything else in .cache/, which git ignores.
 * Gotcha: this runs compiled, out of dist/: the project is found by its package.json, never relative to the module.
 */
import { cpSync, existsSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

function findRoot(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from
  const parent = dirname(from)
  if (parent === from) throw new Error('no package.json above the peer tests')
  return findRoot(parent)
}

export const projectRoot = findRoot(dirname(fileURLToPath(import.meta.url)))
export const peerSources = join(projectRoot, 'test', 'peer')
export const goldenDir = join(projectRoot, 'test', 'golden')
export const cacheDir = join(projectRoot, '.cache')

/** What a checkout has not: what was made or fetched in it. */
const MADE = /^(?:node_modules|dist|\.cache|\.tap|\.git|docs-site)$|\.tgz$/

/** Copies the project as a fresh clone has it. */
export function copyCheckout(to: string): void {
  cpSync(projectRoot, to, { recursive: true, filter: (from) => !MADE.test(relative(projectRoot, from)) })
}
