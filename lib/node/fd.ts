/**
 * Whole reads and writes of an open file: the system may do only a part of one.
 *
 * Source: read(2), pread(2), pwrite(2).
 * Gotcha: a pipe without data may return EAGAIN, since Node makes standard input non-blocking.
 */
import * as fs from 'node:fs'

/** The most bytes of one call. */
const CALL_MOST = 1 << 30
/** Milliseconds until a pipe without data is read again. */
const PIPE_WAIT = 5

/** Reads from `offset` (bytes) on until `out` is full or the file ends; returns the number of bytes read. */
export function readAt(fd: number, out: Uint8Array, offset: number): number {
  for (let done = 0; ; ) {
    const most = Math.min(out.length - done, CALL_MOST)
    const count = most > 0 ? fs.readSync(fd, out, done, most, offset + done) : 0
    if (count === 0) return done
    done += count
  }
}

/** Reads from the file's position until `out` is full or the file ends; returns the number of bytes read. */
export function readOn(fd: number, out: Uint8Array): number {
  for (let done = 0; ; ) {
    const count = done < out.length ? readSome(fd, out.subarray(done)) : 0
    if (count === 0) return done
    done += count
  }
}

function readSome(fd: number, out: Uint8Array): number {
  for (;;) {
    try {
      return fs.readSync(fd, out, 0, Math.min(out.length, CALL_MOST), null)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PIPE_WAIT)
    }
  }
}

/** Writes all bytes at `offset`. */
export function writeAt(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += fs.writeSync(fd, bytes, done, Math.min(bytes.length - done, CALL_MOST), offset + done)
  }
}
