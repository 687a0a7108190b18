/**
 * A scratch file without a name, for content that may be longer than memory.
 *
 * Source: unlink(2): a file whose name is gone lives until it is closed.
 * Gotcha: create it only when there is something to keep: most inputs are read in place. Blocks of zeros are holes.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { isZero } from '../bytes.js'
import { inBlocks, type Scratch } from '../snapshot/scratch.js'
import { readAt, writeAt } from './fd.js'
import { cannotWrite } from './refusal.js'

/** A scratch that frees its room when it is closed. */
export interface FileScratch extends Scratch {
  close(): void
}

/** Returns a scratch file in TMPDIR. Writing throws DomainBuilderError `cannot-write`. */
export function scratchFile(): FileScratch {
  let fd: number | undefined
  const folder = tmpdir()
  const made = (): number => {
    const name = path.join(folder, `.xdb-${randomBytes(8).toString('hex')}.tmp`)
    const opened = fs.openSync(name, 'wx+', 0o600)
    fs.rmSync(name)
    return opened
  }
  return {
    writeAt(bytes, offset) {
      let done = 0
      for (const { part } of inBlocks(bytes, offset)) {
        try {
          if (!isZero(part)) {
            fd ??= made()
            writeAt(fd, part, offset + done)
          }
        } catch (cause) {
          throw cannotWrite(`a scratch file in ${folder}`, cause)
        }
        done += part.length
      }
    },
    readInto(offset, out) {
      out.fill(0, fd === undefined ? 0 : readAt(fd, out, offset))
    },
    close() {
      if (fd !== undefined) fs.closeSync(fd)
      fd = undefined
    },
  }
}
