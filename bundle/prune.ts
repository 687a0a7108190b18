/**
 * npm run build: deletes what an older build left in dist, so that the package and the tests are those of the sources.
 *
 * Source: the outputs of tsc: `X.js` and `X.d.ts` of each `X.ts`, each with a map.
 * Gotcha: tests may be running in dist. So only files without a source are deleted, never the folder.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './common.js'

const dist = `${root}dist/`

for (const folder of readdirSync(dist)) {
  // The compiler writes into folders that are named as those of the sources. The others are emptied by their writers.
  if (!existsSync(root + folder)) continue
  for (const entry of readdirSync(dist + folder, { withFileTypes: true, recursive: true })) {
    const file = join(entry.parentPath, entry.name)
    const source = root + file.slice(dist.length).replace(/(?:\.js|\.d\.ts)(?:\.map)?$/, '')
    if (entry.isFile() && ![`${source}.ts`, `${source}.d.ts`].some(existsSync)) rmSync(file)
  }
}
