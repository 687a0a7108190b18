/**
 * Inputs: files that are read in place, and streams that are copied to a scratch file first.
 *
 * Source: read(2), stat(2).
 * Gotcha: a file may become shorter while it is read. The library reads pages on demand, so the file stays open until
 * its owner closes it.
 */
import * as fs from 'node:fs'
import { type ByteSource, requireBytes } from '../snapshot/byte-source.js'
import { scratchSource } from '../snapshot/scratch.js'
import { readAt, readOn } from './fd.js'
import { cannotRead } from './refusal.js'
import { type FileScratch, scratchFile } from './scratch-file.js'

/** An open input. */
export interface Input extends ByteSource {
  /** The name that it was opened by. */
  readonly name: string
  /** Closes the input; later reads are refused. */
  close(): void
}

/** Bytes of a stream that are read at a time. */
const STREAM_BYTES = 1 << 20

/**
 * Opens a file. Anything except a regular file, such as a pipe, is read to its end first.
 * @throws DomainBuilderError `cannot-read`, also for a directory and a device.
 */
export function openInput(name: string): Input {
  let fd: number | undefined
  try {
    fd = fs.openSync(name, 'r')
    const stat = fs.fstatSync(fd)
    if (stat.isDirectory()) throw new Error('is a directory')
    if (stat.isCharacterDevice() || stat.isBlockDevice()) throw new Error('is a device')
    if (stat.isFile() && stat.size > 0) return fileInput(name, fd, stat.size)
    // A file of /proc has size 0, so it is read as a stream too.
    const input = streamInput(name, fd)
    fs.closeSync(fd)
    return input
  } catch (cause) {
    if (fd !== undefined) fs.closeSync(fd)
    throw cannotRead(name, cause)
  }
}

function fileInput(name: string, fd: number, size: number): Input {
  let open = true
  return {
    name,
    size,
    readInto(offset, out) {
      requireBytes(size, offset, out.length)
      if (!open) throw cannotRead(name, new Error('the snapshot is closed'))
      try {
        if (readAt(fd, out, offset) < out.length) throw new Error('became shorter while it was read')
      } catch (cause) {
        throw cannotRead(name, cause)
      }
    },
    close() {
      if (open) fs.closeSync(fd)
      open = false
    },
  }
}

/**
 * Returns all of a stream, such as standard input, from a scratch file.
 * @param wanted is called once, with the first bytes: it throws for a stream that is not worth reading to its end.
 * @throws DomainBuilderError `cannot-read`, `cannot-write` for the scratch file, and the errors of `wanted`.
 */
export function streamInput(name: string, fd: number, wanted: (start: Uint8Array) => void = () => {}): Input {
  const scratch = scratchFile()
  try {
    const size = spool(fd, scratch, wanted)
    return { name, ...scratchSource(scratch, size), close: () => scratch.close() }
  } catch (cause) {
    scratch.close()
    throw cannotRead(name, cause)
  }
}

function spool(fd: number, scratch: FileScratch, wanted: (start: Uint8Array) => void): number {
  const piece = new Uint8Array(STREAM_BYTES)
  let size = 0
  for (;;) {
    const count = readOn(fd, piece)
    if (size === 0) wanted(piece.subarray(0, count))
    scratch.writeAt(piece.subarray(0, count), size)
    size += count
    if (count < piece.length) return size
  }
}
