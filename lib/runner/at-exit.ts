/**
 * The remains of runs that this process removes when it ends in the middle of them.
 *
 * Source: https://nodejs.org/api/process.html#event-exit
 * Gotcha: only process.exit() and an uncaught error come here. A signal without a handler ends the process at once.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const pending = new Set<() => void>()
const doAll = (): void => {
  for (const act of pending) act()
}

/** Registers an act for the end of this process. Returns the way to take it back. */
export function atExit(act: () => void): () => void {
  pending.add(act)
  process.off('exit', doAll).on('exit', doAll)
  return () => pending.delete(act)
}

/** Does the work with a new folder, and removes the folder. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-run-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  const done = atExit(remove)
  try {
    return await work(folder)
  } finally {
    remove()
    done()
  }
}
