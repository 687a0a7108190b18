/**
 * npm pack and npm publish, after the build: gives the files of the package the mode that a umask of 022 gives.
 *
 * Source: npm-pack(1); the modes of the files are in the tarball, and Git keeps none but the executable bit.
 * Gotcha: npm sets the executable bit of a command in the tarball itself. Set here, it would be a change for Git.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { root } from './common.js'

const listing = execFileSync('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
  cwd: root,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'ignore'],
})
const [{ files }] = JSON.parse(listing) as [{ files: readonly { path: string }[] }]
for (const { path } of files) chmodSync(root + path, 0o644)
