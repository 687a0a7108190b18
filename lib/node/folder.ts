/**
 * The directory of an output, and the temporary names in it.
 *
 * Source: proc(5), /proc/self/fd: the name that an open directory has now.
 * Gotcha: a directory can be renamed while an output is written. On Linux what is ours in it is found all the same;
 * other systems do not tell, so there a temporary file stays in a directory that was renamed.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'

/** A file's name that nobody else has. It is short, so that it fits wherever the output's own name does. */
export const temporaryName = (): string => `.xdb-${randomBytes(8).toString('hex')}.tmp`

/** An open directory. */
export class Folder {
  /** As it was named. */
  readonly path: string
  #fd: number | undefined

  constructor(name: string) {
    this.path = name
    try {
      this.#fd = fs.openSync(name, 'r')
    } catch {
      // Some systems open no directory, and a directory that may be written need not be readable.
    }
  }

  /** The path of a file in it, wherever the directory is now. */
  locate(name: string): string {
    try {
      return path.join(fs.readlinkSync(`/proc/self/fd/${this.#fd}`), name)
    } catch {
      return path.join(this.path, name)
    }
  }

  /** Removes a file of ours. It is no error when it is gone already, perhaps with its directory. */
  remove(name: string): void {
    try {
      fs.rmSync(this.locate(name), { force: true })
    } catch {
      // What failed before says more.
    }
  }

  /** Lets go of it. Nothing was written to it, so closing it loses nothing. */
  close(): void {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) fs.close(fd, () => {})
  }
}
