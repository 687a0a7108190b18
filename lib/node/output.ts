/**
 * Outputs that appear whole or not at all: written next to their names, renamed when all of them are complete.
 *
 * Source: rename(2): a name changes hands in one step; link(2).
 * Gotcha: several files are several renames. The old files are kept until the last one succeeded, so a failure puts all of
 * them back.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { cannotWrite } from './refusal.js'

/** How files are written. */
export interface OutputOptions {
  /** Stops the work: nothing is left of it, and the signal's reason is thrown. */
  readonly signal?: AbortSignal
  /** Files that no output may replace, such as the kernel that a guest was built from. */
  readonly keep?: readonly string[]
}

/** A file in the making. */
export interface Output {
  readonly fd: number
  /** Sets its size in bytes; what is not written stays a hole. */
  truncate(size: number): void
}

interface Target {
  /** As the caller named it. */
  readonly name: string
  /** The file itself, where the name is a symbolic link. */
  readonly path: string
  /** Of the file that is replaced. */
  readonly old: fs.Stats | undefined
}

/**
 * Writes files that all appear together, or none of them.
 * @throws DomainBuilderError `cannot-write`; the signal's reason; what `write` throws.
 */
export async function writeFiles(
  names: readonly string[],
  write: (outputs: readonly Output[]) => Promise<void>,
  { signal, keep = [] }: OutputOptions = {},
): Promise<void> {
  signal?.throwIfAborted()
  const made: { fd: number | undefined; readonly temporary: string }[] = []
  try {
    const targets = names.map((name) => requireFree(name, keep))
    for (const target of targets) made.push(create(target))
    await write(made.map(({ fd }) => output(fd as number)))
    for (const file of made) {
      const { fd } = file
      file.fd = undefined
      if (fd !== undefined) fs.closeSync(fd)
    }
    signal?.throwIfAborted()
    await publish(
      targets,
      made.splice(0).map(({ temporary }) => temporary),
    )
  } catch (cause) {
    if (signal?.aborted && cause === signal.reason) throw cause
    throw (cause as NodeJS.ErrnoException)?.code === undefined ? cause : cannotWrite(names.join(', '), cause)
  } finally {
    for (const { fd, temporary } of made) {
      if (fd !== undefined) fs.closeSync(fd)
      remove(temporary)
    }
  }
}

/** @throws DomainBuilderError `cannot-write` for a name that no output can be given. */
function requireFree(name: string, keep: readonly string[]): Target {
  const refuse = (why: string): never => {
    throw cannotWrite(name, new Error(why))
  }
  const folder = fs.statSync(path.dirname(name), { throwIfNoEntry: false })
  if (!folder?.isDirectory()) refuse(`there is no directory ${path.dirname(name)}`)
  const old = fs.statSync(name, { throwIfNoEntry: false })
  if (old === undefined) {
    if (fs.lstatSync(name, { throwIfNoEntry: false })) refuse('is a symbolic link that leads nowhere')
    return { name, path: name, old }
  }
  if (old.isDirectory()) refuse('is a directory')
  if (!old.isFile()) refuse('is no regular file; -o - writes to standard output')
  const isSame = (other: fs.Stats | undefined) => other?.dev === old.dev && other.ino === old.ino
  if (keep.some((kept) => isSame(fs.statSync(kept, { throwIfNoEntry: false })))) {
    refuse('is an input, which is never changed')
  }
  return { name, path: fs.realpathSync(name), old }
}

/** A name next to a file that nobody else has. It is short, so that it fits wherever the file's own name does. */
const nameBeside = (file: string): string => path.join(path.dirname(file), `.xdb-${randomBytes(8).toString('hex')}.tmp`)

const PERMISSIONS = 0o7777

/** The file to write to: nobody may read it who may not read the file that it replaces. */
function create({ path: file, old }: Target): { fd: number; temporary: string } {
  const temporary = nameBeside(file)
  const fd = fs.openSync(temporary, 'wx', old === undefined ? 0o666 : 0o600)
  try {
    if (old !== undefined) takeAfter(fd, old)
  } catch (error) {
    fs.closeSync(fd)
    remove(temporary)
    throw error
  }
  return { fd, temporary }
}

/** Gives a file the owner and the permissions of the one that it replaces. */
function takeAfter(fd: number, old: fs.Stats): void {
  try {
    fs.fchownSync(fd, old.uid, old.gid)
  } catch {
    // Only root may give files away. The writer owns the new file then, as with any other program.
  }
  fs.fchmodSync(fd, old.mode & PERMISSIONS)
}

const output = (fd: number): Output => ({ fd, truncate: (size) => fs.ftruncateSync(fd, size) })

/** Removes a file of ours; that it is gone already, with its directory perhaps, is as good. */
function remove(file: string): void {
  try {
    fs.rmSync(file, { force: true })
  } catch {
    // What failed before says more.
  }
}

/** Puts the files in their places. @throws what failed; every place then has what it had before. */
async function publish(targets: readonly Target[], temporary: readonly string[]): Promise<void> {
  const [first] = targets
  const unlock = first !== undefined && targets.length > 1 ? await lock(first.path) : () => {}
  const undo: (() => void)[] = []
  const kept: string[] = []
  try {
    targets.forEach(({ path: file }, i) => {
      const isLast = i === targets.length - 1
      const backup = isLast ? undefined : keepOld(file)
      if (backup !== undefined) kept.push(backup)
      fs.renameSync(temporary[i] as string, file)
      undo.push(() => (backup === undefined ? fs.rmSync(file) : fs.renameSync(backup, file)))
    })
  } catch (error) {
    for (const put of undo.reverse()) {
      try {
        put()
      } catch {
        // The first failure is the one to tell.
      }
    }
    temporary.forEach(remove)
    throw error
  } finally {
    kept.forEach(remove)
    unlock()
  }
}

/** Another name for the file that is there now, if there is one. */
function keepOld(file: string): string | undefined {
  if (!fs.statSync(file, { throwIfNoEntry: false })) return undefined
  const backup = nameBeside(file)
  try {
    fs.linkSync(file, backup)
  } catch {
    // A file system without hard links.
    fs.copyFileSync(file, backup, fs.constants.COPYFILE_EXCL)
  }
  return backup
}

/** Milliseconds: publishing takes less than one, so a lock of this age has lost its owner. */
const LOCK_STALE = 2000
const LOCK_POLL = 2

/** Keeps other processes from publishing the same files in between: a pair must come from one writer. */
async function lock(file: string): Promise<() => void> {
  const name = path.join(path.dirname(file), `.xdb-${path.basename(file).slice(0, 200)}.lock`)
  for (let waited = 0; ; waited += LOCK_POLL) {
    try {
      fs.mkdirSync(name)
      return () => removeLock(name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    if (waited >= LOCK_STALE) {
      removeLock(name)
      waited = 0
    }
    await delay(LOCK_POLL)
  }
}

function removeLock(name: string): void {
  try {
    fs.rmdirSync(name)
  } catch {
    // Its directory vanished, or another writer took it for a stale one.
  }
}
