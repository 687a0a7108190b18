/**
 * A program that a test compares with, looked for in PATH.
 *
 * Source: our own; for requirePeer.
 * Gotcha: only programs that know --version can be found this way.
 */
import { spawnSync } from 'node:child_process'
import type { Found } from './require-peer.js'

/** Whether `name` runs; `from` is the Debian package that has it. */
export async function findCommand(name: string, from: string): Promise<Found<string>> {
  return spawnSync(name, ['--version']).status === 0
    ? { found: name }
    : { missing: `${name} (${from}) is not installed` }
}
