/**
 * The package as npm packs it, installed in a fresh project by npm, as its user does.
 *
 * Source: npm-pack(1), npm-install(1).
 * Gotcha: packing here would build again, under the feet of the tests that run what was built.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { impatientNpm, npmEnvironment } from '../peer/npm.js'
import { projectRoot } from '../peer/paths.js'
import type { Found } from '../peer/require-peer.js'
import { cleanEnvironment } from './session.js'

/** Packs what was built into a directory; the tarball's path. */
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

/** The program of that major version of Node, fetched if need be. */
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

/** Whether npm can install what is not in the lock file. */
export async function findRegistry(): Promise<Found<true>> {
  const { status, stderr } = spawnSync('npm', ['view', 'debug@4.4.3', 'version'], {
    encoding: 'utf8',
    env: impatientNpm(),
    timeout: 60_000,
  })
  return status === 0 ? { found: true } : { missing: `npm reaches no registry: ${stderr.trim().split('\n')[0]}` }
}

/** A project in that directory with the packed package in it; it takes a registry, for the three packages it needs. */
export function installInto(directory: string): void {
  const { status, stderr } = spawnSync('npm', ['install', packInto(directory)], {
    cwd: directory,
    env: cleanEnvironment(directory),
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`npm install: ${stderr}`)
}
