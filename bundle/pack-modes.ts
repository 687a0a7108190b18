/**
 * npm pack and npm publish, after the build: gives the files of the package the modes that a umask of 022 gives.
 *
 * Source: npm-pack(1): the modes of the files are in the tarball.
 * Gotcha: the command is executable, by esbuild, since it begins with `#!`. npm would pack it without that bit as well.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import { root } from './common.js'

const listing = execFileSync('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
  cwd: root,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'ignore'],
})
const [{ files }] = JSON.parse(listing) as [{ files: readonly { path: string }[] }]
for (const { path } of files) chmodSync(root + path, statSync(root + path).mode & 0o100 ? 0o755 : 0o644)
