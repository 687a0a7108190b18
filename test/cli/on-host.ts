/**
 * Runs the command on a Xen host in memory.
 *
 * Source: ./recording-host.ts, which runs in the process of the command.
 * Gotcha: a command that a signal ends has saved the state of its host, but one that crashes has not.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Ran, type RunOptions, runCommand } from './command.js'
import type { HostDescription, HostState } from './recording-host.js'

/** A host, without the file for its state. */
export type Host = Omit<HostDescription, 'state'>

/** The options of Node in a process whose Xen is in memory. */
export const IN_MEMORY = ['--import', fileURLToPath(new URL('recording-host.js', import.meta.url))] as const

/** Two guests that run. */
export const TWO_GUESTS: Host = {
  domains: [
    { type: 'pv', memory: 16 * 2 ** 20, name: 'web', vcpus: 2 },
    { type: 'pvh', memory: 32 * 2 ** 20, name: 'db' },
  ],
  nodes: { '/local/domain/0/name': 'Domain-0' },
}

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-states-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
let runs = 0

/** Returns the environment for a host, and a function that reads its state when the command has ended. */
export function hostVariables(host: Host): { HOST: string; state: () => HostState | undefined } {
  const state = path.join(folder, `${++runs}.json`)
  return {
    HOST: JSON.stringify({ ...host, state }),
    state: () => (existsSync(state) ? (JSON.parse(readFileSync(state, 'utf8')) as HostState) : undefined),
  }
}

/** Runs the command. `host` is the state afterwards; undefined if no Xen was opened. */
export function runOnHost(
  host: Host,
  args: readonly string[],
  options: Pick<RunOptions, 'cwd'> = {},
): Ran & { readonly host: HostState | undefined } {
  const { HOST, state } = hostVariables(host)
  const ran = runCommand(args, { ...options, node: IN_MEMORY, env: { HOST } })
  return { ...ran, host: state() }
}
