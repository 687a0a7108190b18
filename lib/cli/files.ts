/**
 * Files: inputs read whole and within bounds, outputs that appear whole or not at all.
 *
 * Source: rename(2): a name changes hands in one step.
 * Gotcha: an output is written beside its final name, so that the rename stays within one file system.
 */
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { DomainBuilderError } from '../errors.js'
import { inBlocks, isZero, type Scratch, scratchSource } from '../snapshot/scratch.js'
import { type ByteSource, requireBytes } from '../snapshot/source.js'
import { UsageError } from './command.js'
import { sayAtOnce } from './printer.js'

/** No kernel, ramdisk or table is larger; a stream without end is cut off here. */
export const MAX_INPUT = 4 * 2 ** 30

/** What the system said, without the code before it, and the call and path behind it that Node adds. */
const reason = (error: unknown): string =>
  error instanceof Error ? error.message.replace(/^[A-Z]+: (.*?), \w+(?: '.*)?$/, '$1') : String(error)

const cannotRead = (name: string, cause: unknown): DomainBuilderError =>
  new DomainBuilderError('cannot-read', `${name === '' ? "''" : name}: ${reason(cause)}`, { cause })

/** What is said of an output that could not be written. */
export const cannotWrite = (name: string, cause: unknown): DomainBuilderError =>
  new DomainBuilderError('cannot-write', `${name}: ${reason(cause)}`, { cause })

/** What was read so far: no output may take its place, and standard input can be read once. */
const inputs = new Set<string>()
const identity = ({ dev, ino }: fs.Stats): string => `${dev}:${ino}`

/** @throws DomainBuilderError `cannot-read`; UsageError for - where it stood for another input already. */
function openInput(name: string): number {
  if (name === '-') {
    if (inputs.has(name)) throw new UsageError('- stands for two inputs, and standard input can be read once')
    inputs.add(name)
    return 0
  }
  try {
    const fd = fs.openSync(name, 'r')
    const stat = fs.fstatSync(fd)
    if (stat.isDirectory()) throw new Error('is a directory')
    inputs.add(identity(stat))
    return fd
  } catch (cause) {
    throw cannotRead(name, cause)
  }
}

/** The bytes of a file, or of standard input for "-". @throws DomainBuilderError `cannot-read`. */
export function readInput(name: string): Uint8Array {
  const fd = openInput(name)
  try {
    const stat = fs.fstatSync(fd)
    return stat.isFile() && stat.size > 0 ? readRegular(fd, stat.size) : readStream(fd)
  } catch (cause) {
    throw cannotRead(name === '-' ? 'standard input' : name, cause)
  } finally {
    if (fd !== 0) fs.closeSync(fd)
  }
}

function readRegular(fd: number, size: number): Uint8Array {
  if (size > MAX_INPUT) throw new Error(`larger than ${MAX_INPUT} bytes`)
  const bytes = new Uint8Array(size)
  let done = 0
  while (done < size) {
    const count = fs.readSync(fd, bytes, done, Math.min(size - done, 1 << 30), null)
    if (count === 0) break
    done += count
  }
  return bytes.subarray(0, done)
}

function readStream(fd: number): Uint8Array {
  const pieces: Uint8Array[] = []
  let total = 0
  for (;;) {
    const piece = new Uint8Array(1 << 20)
    const count = readSome(fd, piece)
    if (count === 0) return Buffer.concat(pieces)
    total += count
    if (total > MAX_INPUT) throw new Error(`more than ${MAX_INPUT} bytes`)
    pieces.push(piece.subarray(0, count))
  }
}

/** A pipe without data yet may say EAGAIN: wait a little and ask again. */
function readSome(fd: number, into: Uint8Array): number {
  for (;;) {
    try {
      return fs.readSync(fd, into, 0, into.length, null)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

/**
 * An input as a source that is read piece by piece: a file where it is, anything else out of a scratch file that it is put
 * into first. It stays open until the process ends.
 * @throws DomainBuilderError `cannot-read`.
 */
export function inputSource(name: string): ByteSource {
  if (name !== '-' && isRegular(name)) return fileSource(name)
  const fd = openInput(name)
  try {
    return spooled(fd)
  } catch (cause) {
    throw cause instanceof DomainBuilderError ? cause : cannotRead(name === '-' ? 'standard input' : name, cause)
  }
}

function spooled(fd: number): ByteSource {
  const scratch = scratchFile()
  const piece = new Uint8Array(1 << 20)
  let size = 0
  for (;;) {
    const count = readSome(fd, piece)
    if (count === 0) break
    scratch.writeAt(piece.subarray(0, count), size)
    size += count
  }
  return scratchSource(scratch, size)
}

/** A file as a source that is read piece by piece; it stays open until the process ends. */
export function fileSource(name: string): ByteSource {
  const fd = openInput(name)
  const { size } = fs.fstatSync(fd)
  return {
    size,
    readInto(offset, out) {
      requireBytes(size, offset, out.length)
      if (readAt(fd, out, offset) < out.length) throw cannotRead(name, new Error('became shorter while it was read'))
    },
  }
}

/** Reads until `out` is full or the file ends; says how many bytes there were. */
function readAt(fd: number, out: Uint8Array, offset: number): number {
  for (let done = 0; ; ) {
    const count = done < out.length ? fs.readSync(fd, out, done, out.length - done, offset + done) : 0
    if (count === 0) return done
    done += count
  }
}

/**
 * A file without a name, where TMPDIR says, for what may be longer than memory: blocks of zeros are holes in it, and it is
 * gone with the process. It is made when there is something to keep: most inputs are files that are read where they are.
 * Writing throws DomainBuilderError `cannot-write`.
 */
export function scratchFile(): Scratch {
  const name = path.join(tmpdir(), `xen-domain-builder.${process.pid}.tmp`)
  const trying = <T>(act: () => T): T => {
    try {
      return act()
    } catch (cause) {
      throw cannotWrite(name, cause)
    }
  }
  let file: Output | undefined
  const made = (): Output => {
    const fd = fs.openSync(name, 'wx+', 0o600)
    fs.rmSync(name)
    return output(fd)
  }
  return {
    writeAt(bytes, offset) {
      let done = 0
      for (const { part } of inBlocks(bytes, offset)) {
        const position = offset + done
        if (!isZero(part)) {
          trying(() => {
            file ??= made()
            file.writeAt(part, position)
          })
        }
        done += part.length
      }
    },
    readInto(offset, out) {
      out.fill(0, file === undefined ? 0 : readAt(file.fd, out, offset))
    },
  }
}

/** Whether there is a file of that name that can be read at any place. */
const isRegular = (name: string): boolean => fs.existsSync(name) && fs.statSync(name).isFile()

/** Whether there is such a file. */
export const exists = (name: string): boolean => fs.existsSync(name)

/** Signals by which a process is told to stop: by a key, by another process, by the terminal that is closed. */
const STOPPED_BY = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** An output in the making. */
export interface Output {
  readonly fd: number
  /** Writes at a position; short writes are completed. */
  writeAt(bytes: Uint8Array, position: number): void
  /** Sets the size; what was not written stays a hole. */
  truncate(size: number): void
}

/** @throws DomainBuilderError `cannot-write` for a name that no output can be given. */
function requireFree(name: string): void {
  const refuse = (why: string): never => {
    throw cannotWrite(name, new Error(why))
  }
  const folder = path.dirname(name)
  if (!fs.existsSync(folder) || !fs.statSync(folder).isDirectory()) refuse(`there is no directory ${folder}`)
  if (!fs.existsSync(name)) return
  const stat = fs.statSync(name)
  if (stat.isDirectory()) refuse('is a directory')
  if (!stat.isFile()) refuse('is no regular file; -o - writes to standard output')
  if (inputs.has(identity(stat))) refuse('is an input, which is never changed')
}

/**
 * Writes files that all appear together: each under a temporary name beside its own, renamed when all are complete.
 * Nothing is left behind when `write` throws, a name cannot be had or the process is told to stop, which it says and then
 * does; a long `write` takes a breath now and then, or no signal would be heard.
 * @throws DomainBuilderError `cannot-write`.
 */
export async function writeOutputs(
  names: readonly string[],
  write: (outputs: readonly Output[]) => Promise<void>,
): Promise<void> {
  names.forEach(requireFree)
  const temporary = names.map((name) => path.join(path.dirname(name), `.${path.basename(name)}.${process.pid}.tmp`))
  const opened: number[] = []
  const renamed: string[] = []
  const remove = () => {
    for (const fd of opened.splice(0)) fs.closeSync(fd)
    for (const name of [...temporary, ...renamed]) fs.rmSync(name, { force: true })
  }
  const stop = (signal: NodeJS.Signals) => {
    remove()
    try {
      sayAtOnce(`${names.join(', ')}: not written, because of ${signal}`)
    } finally {
      // Its handler is gone: now it does what it does to everybody.
      process.kill(process.pid, signal)
    }
  }
  for (const signal of STOPPED_BY) process.once(signal, stop)
  try {
    const outputs = temporary.map((name) => {
      const fd = fs.openSync(name, 'wx', 0o666)
      opened.push(fd)
      return output(fd)
    })
    await write(outputs)
    for (const fd of opened.splice(0)) fs.closeSync(fd)
    names.forEach((name, i) => {
      fs.renameSync(temporary[i] as string, name)
      renamed.push(name)
    })
  } catch (cause) {
    remove()
    throw cause instanceof DomainBuilderError ? cause : cannotWrite(names.join(', '), cause)
  } finally {
    for (const signal of STOPPED_BY) process.off(signal, stop)
  }
}

/** What messages call it. */
export const STANDARD_OUTPUT = 'standard output'

/** Writes to standard output, as fast as its reader takes it. @throws DomainBuilderError `cannot-write`. */
export async function writeStandardOutput(chunks: Iterable<Uint8Array>): Promise<void> {
  for (const chunk of chunks) {
    // A chunk is valid until the next is asked for, so it must be gone before that.
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (cause) => (cause ? reject(cannotWrite(STANDARD_OUTPUT, cause)) : resolve()))
    })
  }
}

function output(fd: number): Output {
  return {
    fd,
    writeAt(bytes, position) {
      for (let done = 0; done < bytes.length; ) {
        done += fs.writeSync(fd, bytes, done, Math.min(bytes.length - done, 1 << 30), position + done)
      }
    },
    truncate(size) {
      fs.ftruncateSync(fd, size)
    },
  }
}
