/**
 * Paths of the peers' sources, and of the files made or fetched for them.
 *
 * Source: our own layout: sources next to this file's TypeScript, everything else in .cache/, which git ignores.
 * Gotcha: this runs compiled, from dist/, so a path relative to the module would be wrong; package.json marks the root.
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

/** Names of files that were made or fetched, which a fresh clone does not have. */
const MADE = /^(?:node_modules|dist|\.cache|\.tap|\.git|docs-site)$|\.tgz$/

/** Copies the project as a fresh clone has it. */
export function copyCheckout(to: string): void {
  cpSync(projectRoot, to, { recursive: true, filter: (from) => !MADE.test(relative(projectRoot, from)) })
}
