/**
 * The repository's own sources, for the tests that read them.
 *
 * Source: ARCHITECTURE.md says what each folder holds.
 * Gotcha: the tests run in dist, so all paths are relative to the repository.
 */
import { readdirSync, readFileSync } from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Returns the TypeScript files below a folder. */
export function sources(folder: string): string[] {
  return readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
}

export const textOf = (file: string): string => readFileSync(path.join(root, file), 'utf8')
