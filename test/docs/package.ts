/**
 * Packs the package with npm, and installs it in a fresh project with npm, as its user does.
 *
 * Source: npm-pack(1), npm-install(1).
 * Gotcha: npm pack builds again by default, while other tests run the built files; scripts are ignored here.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { impatientNpm, npmEnvironment } from '../peer/npm.js'
import { projectRoot } from '../peer/paths.js'
import type { Found } from '../peer/require-peer.js'
import { cleanEnvironment } from './session.js'

/** Packs the built files into a directory. Returns the path of the tarball. */
export function packInto(directory: string): string {
  const args = ['pack', '--ignore-scripts', '--silent', '--pack-destination', directory]
  const { status, stdout, stderr } = spawnSync('npm', args, {
    cwd: projectRoot,
    env: npmEnvironment(),
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`npm pack: ${stderr}`)
  return join(directory, stdout.trim())
}

/** Returns the program of that major version of Node, fetched if needed. */
export async function findNode(major: number): Promise<Found<string>> {
  const ran = spawnSync('npx', ['-y', `node@${major}`, '-p', 'process.execPath'], {
    encoding: 'utf8',
    env: impatientNpm(),
    timeout: 300_000,
  })
  return ran.status === 0
    ? { found: ran.stdout.trim() }
    : { missing: `node@${major} cannot be fetched: ${ran.stderr?.split('\n')[0] || String(ran.error ?? 'npx failed')}` }
}

/** Whether npm can install packages that are not in the lock file. */
export async function findRegistry(): Promise<Found<true>> {
  const { status, stderr } = spawnSync('npm', ['view', 'debug@4.4.3', 'version'], {
    encoding: 'utf8',
    env: impatientNpm(),
    timeout: 60_000,
  })
  return status === 0 ? { found: true } : { missing: `npm reaches no registry: ${stderr.trim().split('\n')[0]}` }
}

/**
 * Installs the packed package into the project in that directory; needs a registry, for its dependencies. No script runs:
 * the pages are right without any, and README.md's own `npm install` lets them run.
 */
export function installInto(directory: string): void {
  const { status, stderr } = spawnSync('npm', ['install', '--ignore-scripts', packInto(directory)], {
    cwd: directory,
    env: cleanEnvironment(directory),
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`npm install: ${stderr}`)
}
