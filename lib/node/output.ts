/**
 * Outputs that appear whole or not at all: written next to their names, renamed when all of them are complete.
 *
 * Source: rename(2): a name changes hands in one step; link(2); proc(5), /proc/self/fd.
 * Gotcha: several files are several renames. The old files are kept until the last rename succeeded, so a failure
 * restores all of them. SIGKILL between two renames cannot be handled: each file is then whole, but the first may be
 * new and the last one old. It may also leave temporary files, whose names are `.xdb-`, 16 hexadecimal digits, and
 * `.tmp` or `.lock`. Nothing is synced, so a machine that loses power may lose a file that was just written.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Folder, isSame, temporaryName } from './folder.js'
import { lock } from './lock.js'
import { cannotWrite } from './refusal.js'

/** The options for writing files. */
export interface OutputOptions {
  /** Stops the work: all files are removed, and the signal's reason is thrown. */
  readonly signal?: AbortSignal
  /** Files that no output may replace, such as the kernel that a guest was built from. */
  readonly keep?: readonly string[]
}

/** A file in the making. */
interface Output {
  readonly fd: number
  /** Sets its size in bytes; unwritten bytes stay a hole. */
  truncate(size: number): void
}

interface Target {
  /** The file itself, where the name is a symbolic link. */
  readonly path: string
  /** The state of the file that is replaced. */
  readonly old: fs.Stats | undefined
}

/** An output under its temporary name. */
interface Draft {
  /** The name that it gets in its folder. */
  readonly name: string
  readonly folder: Folder
  readonly temporary: string
  /** The state of the file that is written. */
  readonly stat: fs.Stats
  /** Undefined when it is closed. */
  fd: number | undefined
}

/**
 * Writes files that all appear together, or none of them.
 * @throws DomainBuilderError `cannot-write`; the signal's reason; the errors of `write`.
 */
export async function writeFiles(
  names: readonly string[],
  write: (outputs: readonly Output[]) => Promise<void>,
  { signal, keep = [] }: OutputOptions = {},
): Promise<void> {
  signal?.throwIfAborted()
  const drafts: Draft[] = []
  try {
    const targets = names.map((name) => requireFree(name, keep))
    requireApart(names, targets)
    for (const target of targets) drafts.push(create(target))
    await write(drafts.map(({ fd }) => output(fd as number)))
    drafts.forEach(close)
    signal?.throwIfAborted()
    await publish(names, drafts, signal)
  } catch (cause) {
    if (signal?.aborted && cause === signal.reason) throw cause
    throw (cause as NodeJS.ErrnoException)?.code === undefined ? cause : cannotWrite(names.join(', '), cause)
  } finally {
    drafts.forEach(discard)
  }
}

/** @throws DomainBuilderError `cannot-write` for a name that no output can have. */
function requireFree(name: string, keep: readonly string[]): Target {
  const refuse = (why: string): never => {
    throw cannotWrite(name, new Error(why))
  }
  const folder = fs.statSync(path.dirname(name), { throwIfNoEntry: false })
  if (!folder?.isDirectory()) refuse(`there is no directory ${path.dirname(name)}`)
  const old = fs.statSync(name, { throwIfNoEntry: false })
  if (old === undefined) {
    if (fs.lstatSync(name, { throwIfNoEntry: false })) refuse('is a symbolic link that leads nowhere')
    return { path: name, old }
  }
  if (old.isDirectory()) refuse('is a directory')
  if (!old.isFile()) refuse('is not a regular file; -o - writes to standard output')
  if (keep.some((kept) => isSame(old, fs.statSync(kept, { throwIfNoEntry: false })))) {
    refuse('is an input, which is never changed')
  }
  return { path: fs.realpathSync(name), old }
}

/** @throws DomainBuilderError `cannot-write` where one file would be two outputs, through a symbolic link. */
function requireApart(names: readonly string[], targets: readonly Target[]): void {
  targets.forEach((target, i) => {
    const first = targets.findIndex((other) => path.resolve(other.path) === path.resolve(target.path))
    if (first < i) throw cannotWrite(names[i] as string, new Error(`is the same file as ${names[first]}`))
  })
}

const PERMISSIONS = 0o7777

/** Creates the file to write to. Only users who may read the file that it replaces may read it. */
function create({ path: file, old }: Target): Draft {
  const folder = new Folder(path.dirname(file))
  const temporary = temporaryName()
  let fd: number | undefined
  try {
    fd = fs.openSync(folder.locate(temporary), 'wx', old === undefined ? 0o666 : 0o600)
    if (old !== undefined) takeAfter(fd, old)
    return { name: path.basename(file), folder, temporary, stat: fs.fstatSync(fd), fd }
  } catch (error) {
    if (fd !== undefined) {
      fs.closeSync(fd)
      folder.remove(temporary)
    }
    folder.close()
    throw error
  }
}

/** Gives a file the owner and the permissions of the one that it replaces. */
function takeAfter(fd: number, old: fs.Stats): void {
  try {
    fs.fchownSync(fd, old.uid, old.gid)
  } catch {
    // Only root may give files away. Otherwise the writer owns the new file, as with any other program.
  }
  fs.fchmodSync(fd, old.mode & PERMISSIONS)
}

const output = (fd: number): Output => ({ fd, truncate: (size) => fs.ftruncateSync(fd, size) })

/** @throws an error that the system reports late, such as an exceeded quota on a network's disk. */
function close(draft: Draft): void {
  const { fd } = draft
  draft.fd = undefined
  if (fd !== undefined) fs.closeSync(fd)
}

/** Removes all remains of a draft. */
function discard(draft: Draft): void {
  try {
    close(draft)
  } catch {
    // The earlier error says more.
  }
  draft.folder.remove(draft.temporary)
  draft.folder.close()
}

/** A draft that is about to be put in its place, or is already there. */
interface Placed {
  readonly draft: Draft
  /** Another name for the old file, if there was one. */
  readonly backup: string | undefined
}

/** Puts the files in their places. @throws the first error; every place then has its old content. */
async function publish(names: readonly string[], drafts: readonly Draft[], signal?: AbortSignal): Promise<void> {
  const [first] = drafts
  const held = first && drafts.length > 1 ? await lock(first.folder, first.name, signal) : undefined
  const placed: Placed[] = []
  const refuse = (why: string) => cannotWrite(names.join(', '), new Error(why))
  try {
    signal?.throwIfAborted()
    for (const [i, draft] of drafts.entries()) {
      const isLast = i === drafts.length - 1
      placed.push({ draft, backup: isLast ? undefined : keepOld(draft) })
      if (held?.isLost()) throw refuse('another writer has replaced it')
      if (!draft.folder.hasName()) throw refuse('its directory was renamed or removed')
      fs.renameSync(draft.folder.locate(draft.temporary), draft.folder.locate(draft.name))
    }
  } catch (error) {
    const [lost] = placed
      .splice(0)
      .reverse()
      .filter((one) => !putBack(one))
    throw lost === undefined ? error : cannotWrite(`${lost.draft.name} (the old file is now ${lost.backup})`, error)
  } finally {
    placed.forEach(removeBackup)
    held?.release()
  }
}

function removeBackup({ draft, backup }: Placed): void {
  if (backup !== undefined) draft.folder.remove(backup)
}

/** Restores the old file, except where another program has replaced ours. Returns false if that failed. */
function putBack(one: Placed): boolean {
  const { draft, backup } = one
  const file = draft.folder.locate(draft.name)
  try {
    const isOurs = isSame(draft.stat, fs.lstatSync(file, { throwIfNoEntry: false }))
    if (isOurs && backup !== undefined) fs.renameSync(draft.folder.locate(backup), file)
    if (isOurs && backup === undefined) fs.unlinkSync(file)
    if (!isOurs) removeBackup(one)
    return true
  } catch {
    return backup === undefined
  }
}

/** Returns another name for the existing file, or undefined without one. */
function keepOld({ name, folder }: Draft): string | undefined {
  const file = folder.locate(name)
  if (!fs.lstatSync(file, { throwIfNoEntry: false })) return undefined
  const backup = temporaryName()
  try {
    fs.linkSync(file, folder.locate(backup))
  } catch {
    // A file system without hard links.
    fs.copyFileSync(file, folder.locate(backup), fs.constants.COPYFILE_EXCL)
  }
  return backup
}
