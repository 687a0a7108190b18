/**
 * Checks for programs and files that a test needs, for requirePeer().
 *
 * Source: our own; programs are searched in PATH, as spawn does.
 * Gotcha: a program is started with --version. Some refuse that, so a failing status does not mean a missing program.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Found } from './require-peer.js'

/** The exit status of a shell, or of a wrapper, that does not find its program. */
const NOT_FOUND = 127

/** Whether `name` runs; `from` is the Debian package that has it. */
export async function findCommand(name: string, from: string): Promise<Found<string>> {
  const { error, status } = spawnSync(name, ['--version'], { stdio: 'ignore' })
  return error === undefined && status !== NOT_FOUND
    ? { found: name }
    : { missing: `${name} (${from}) is not installed` }
}

/** Whether all programs run; each is given as its name and package. */
export async function findCommands(...all: readonly (readonly [name: string, from: string])[]): Promise<Found<true>> {
  for (const [name, from] of all) {
    const found = await findCommand(name, from)
    if ('missing' in found) return found
  }
  return { found: true }
}

/** Whether a file exists; `from` is the Debian package that has it. */
export async function findFile(path: string, from: string): Promise<Found<string>> {
  return existsSync(path) ? { found: path } : { missing: `${path} (${from}) is not installed` }
}
