/**
 * A lock that processes share through a directory, for the moment in which several files are renamed.
 *
 * Source: rename(2): a directory can replace an empty one, and no other; rmdir(2).
 * Gotcha: a process that was killed leaves its lock. The lock holds a name that only its owner has, and another process
 * takes it over by removing that name. So no process removes the lock of the next owner. The lock is made of
 * directories, since rmdir deletes no data.
 */
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Folder, temporaryName } from './folder.js'

/** Milliseconds: the lock is held for about one, so an owner that has held it for this long is dead. */
const STALE = 5000
const POLL = 2

/** The system's codes for a target directory that is not empty; the last two are those of Windows. */
const HELD = new Set(['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES'])

/** A lock that is held. */
interface Lock {
  /** Returns whether another process took it over, because this one was stopped for long. */
  isLost(): boolean
  release(): void
}

/**
 * Waits for the lock of a file's name.
 * @throws the system's error where the lock can be neither taken nor taken over; the signal's reason.
 */
export async function lock(folder: Folder, name: string, signal?: AbortSignal): Promise<Lock> {
  const file = `.xdb-${createHash('sha256').update(name).digest('hex').slice(0, 16)}.lock`
  const [own, token] = [temporaryName(), temporaryName()]
  try {
    fs.mkdirSync(folder.locate(own))
    fs.mkdirSync(folder.locate(path.join(own, token)))
    await take(folder.locate(own), folder.locate(file), signal)
  } catch (error) {
    release(folder, own, token)
    throw error
  }
  return {
    isLost: () => !fs.existsSync(folder.locate(path.join(file, token))),
    release: () => release(folder, file, token),
  }
}

/** Renames the directory to the name of the lock. */
async function take(own: string, file: string, signal: AbortSignal | undefined): Promise<void> {
  let owner: string | undefined
  for (let waited = 0; ; waited += POLL) {
    signal?.throwIfAborted()
    try {
      return fs.renameSync(own, file)
    } catch (error) {
      if (!HELD.has((error as NodeJS.ErrnoException).code ?? '')) throw error
      if (waited >= STALE && owner === undefined) throw error
    }
    const now = ownerOf(file)
    if (now !== owner) waited = 0
    if (waited >= STALE && now !== undefined) removeFolder(path.join(file, now))
    owner = now
    await delay(POLL)
  }
}

/** Returns the name in a lock. An empty lock has no owner. */
function ownerOf(file: string): string | undefined {
  try {
    const [owner] = fs.readdirSync(file)
    if (owner === undefined) fs.rmdirSync(file)
    return owner
  } catch (error) {
    if (!['ENOENT', ...HELD].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    return undefined
  }
}

/** @throws the system's error, except for a folder that is already gone. */
function removeFolder(name: string): void {
  try {
    fs.rmdirSync(name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function release(folder: Folder, file: string, token: string): void {
  try {
    removeFolder(folder.locate(path.join(file, token)))
    removeFolder(folder.locate(file))
  } catch {
    // Another owner's lock is not empty.
  }
}
