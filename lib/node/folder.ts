/**
 * The directory of an output, and the temporary names in it.
 *
 * Source: proc(5), /proc/self/fd: an open directory, even if it is renamed.
 * Gotcha: a directory can be renamed while an output is written. On Linux our files in it are still found. Other
 * systems have no names in /proc, so there a temporary file stays in a renamed directory.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'

/** Returns a unique file name. It is short, so that it fits in every place where the output's name fits. */
export const temporaryName = (): string => `.xdb-${randomBytes(8).toString('hex')}.tmp`

/** Returns whether two names lead to one file. */
export const isSame = (one: fs.Stats, other: fs.Stats | undefined): boolean =>
  one.dev === other?.dev && one.ino === other.ino

/** An open directory. */
export class Folder {
  readonly #path: string
  #fd: number | undefined
  /** A path to the directory, even after it is renamed. */
  readonly #here: string

  constructor(name: string) {
    this.#path = name
    this.#here = name
    try {
      this.#fd = fs.openSync(name, 'r')
      const here = `/proc/self/fd/${this.#fd}`
      if (fs.statSync(here).isDirectory()) this.#here = here
    } catch {
      // Some systems cannot open a directory, and a writable one need not be readable.
    }
  }

  /** Returns the path of a file in it, even after the directory is renamed. */
  locate(name: string): string {
    return path.join(this.#here, name)
  }

  /** Returns whether it still has its name; true where the system cannot tell. */
  hasName(): boolean {
    const fd = this.#fd
    return fd === undefined || isSame(fs.fstatSync(fd), fs.statSync(this.#path, { throwIfNoEntry: false }))
  }

  /** Removes one of our files. It is not an error if it is already gone, perhaps with its directory. */
  remove(name: string): void {
    try {
      fs.unlinkSync(this.locate(name))
    } catch {
      // The earlier error says more.
    }
  }

  /** Closes the directory. Nothing was written to it, so closing it loses nothing. */
  close(): void {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) fs.close(fd, () => {})
  }
}
