/**
 * The directory of an output, and the temporary names in it.
 *
 * Source: proc(5), /proc/self/fd: an open directory, whatever its name is now.
 * Gotcha: a directory can be renamed while an output is written. On Linux what is ours in it is found all the same;
 * other systems have no such names, so there a temporary file stays in a directory that was renamed.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'

/** A file's name that nobody else has. It is short, so that it fits wherever the output's own name does. */
export const temporaryName = (): string => `.xdb-${randomBytes(8).toString('hex')}.tmp`

/** Whether two names lead to one file. */
export const isSame = (one: fs.Stats, other: fs.Stats | undefined): boolean =>
  one.dev === other?.dev && one.ino === other.ino

/** An open directory. */
export class Folder {
  readonly #path: string
  #fd: number | undefined
  /** What leads to it, also when it is renamed. */
  readonly #here: string

  constructor(name: string) {
    this.#path = name
    this.#here = name
    try {
      this.#fd = fs.openSync(name, 'r')
      const here = `/proc/self/fd/${this.#fd}`
      if (fs.statSync(here).isDirectory()) this.#here = here
    } catch {
      // Some systems open no directory, and one that may be written need not be readable.
    }
  }

  /** The path of a file in it, wherever the directory is now. */
  locate(name: string): string {
    return path.join(this.#here, name)
  }

  /** Whether it still has its name. Where the system does not tell, it has. */
  hasName(): boolean {
    const fd = this.#fd
    return fd === undefined || isSame(fs.fstatSync(fd), fs.statSync(this.#path, { throwIfNoEntry: false }))
  }

  /** Removes a file of ours. It is no error when it is gone already, perhaps with its directory. */
  remove(name: string): void {
    try {
      fs.unlinkSync(this.locate(name))
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
