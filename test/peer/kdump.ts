/**
 * Readers of kdump files: libkdumpfile, drgn and snappy, through Debian's Python.
 *
 * Source: test/peer/kdump.py.
 * Gotcha: the packages belong to Debian's own python3, which need not be the first one in PATH.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { peerSources } from './paths.js'
import type { Found } from './require-peer.js'

const PYTHON = '/usr/bin/python3'
const PACKAGES = { kdumpfile: 'python3-libkdumpfile', drgn: 'python3-drgn', snappy: 'python3-snappy' } as const

/** Returns whether these modules can be imported. */
export async function findPython(...modules: readonly (keyof typeof PACKAGES)[]): Promise<Found<true>> {
  const missing = modules.find((name) => spawnSync(PYTHON, ['-c', `import ${name}`]).status !== 0)
  return missing === undefined ? { found: true } : { missing: `${PACKAGES[missing]} is not installed` }
}

/** Runs the script, and returns what it prints. @throws Error with its complaint. */
export function runPython(...args: readonly string[]): Buffer {
  const ran = spawnSync(PYTHON, [join(peerSources, 'kdump.py'), ...args], { maxBuffer: 2 ** 30 })
  if (ran.status !== 0) throw new Error(`${args[0]}: ${ran.stderr.toString()}`)
  return ran.stdout
}
