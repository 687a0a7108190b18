/**
 * A file with the input that is being executed, for use after the process crashes.
 *
 * Source: our own; a write to a file of tmpfs or of the page cache survives its process.
 * Gotcha: a shorter input leaves the end of a longer one in the file, so the length comes first.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

const HEADER = 4

export class Journal {
  readonly #file: number
  #buffer = Buffer.alloc(1 << 16)

  constructor(path: string) {
    this.#file = openSync(path, 'w')
  }

  write(bytes: Uint8Array): void {
    const length = HEADER + bytes.length
    if (this.#buffer.length < length) this.#buffer = Buffer.alloc(2 * length)
    this.#buffer.writeUInt32LE(bytes.length)
    this.#buffer.set(bytes, HEADER)
    writeSync(this.#file, this.#buffer, 0, length, 0)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Returns the last input; no bytes for a first run. */
export function lastInput(path: string): Uint8Array {
  const file = readFileSync(path)
  return file.length < HEADER ? new Uint8Array(0) : new Uint8Array(file.subarray(HEADER, HEADER + file.readUInt32LE()))
}
