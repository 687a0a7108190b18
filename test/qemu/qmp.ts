/**
 * A QEMU that a test controls: its console, its monitor, and the stream that it saves.
 *
 * Source: ../../lib/runner/qemu-process.ts.
 * Gotcha: the text of a console is never complete while the machine runs.
 */
import { decodeLatin1 } from '../../lib/bytes.js'
import { QemuProcess } from '../../lib/runner/qemu-process.js'
import { QEMU, withDirectory } from './harness.js'

/** A machine that runs or waits. */
export interface Machine {
  /** Everything on its serial port so far. */
  console(): string
  /** Waits until the console has that text. Returns the time in ms at which it did. */
  said(awaited: RegExp): Promise<number>
  /** Runs a command of QMP. */
  ask(command: string, values?: object): Promise<unknown>
  /** Runs a command of the monitor for people, on a processor: by default the first. `cpu N` is forgotten after it. */
  monitor(line: string, cpu?: number): Promise<string>
  /** A folder that is removed in the end. */
  readonly directory: string
  /** Saves the machine as a stream. */
  save(file: string): Promise<void>
}

const PATIENCE_MS = 240_000
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Waits until `look` returns a value. @param what the awaited thing, for the error. */
export async function until<T>(
  what: string | (() => string),
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(20)) {
    const found = await look()
    if (found !== undefined) return found
  }
  throw new Error(`no ${typeof what === 'string' ? what : what()} within ${PATIENCE_MS / 1000} s`)
}

/** Starts QEMU, and ends it after `act`. */
export function withMachine<T>(args: readonly string[], act: (machine: Machine) => Promise<T>): Promise<T> {
  return withDirectory(async (directory) => {
    let output = ''
    const onConsole = (bytes: Uint8Array): void => {
      output += decodeLatin1(bytes)
    }
    const qemu = new QemuProcess(args, { program: QEMU, onConsole })
    const { qmp } = qemu
    try {
      await qmp.open()
      if (qemu.complaint !== '') throw new Error(`QEMU complains: ${qemu.complaint}`)
      return await act({
        directory,
        console: () => output,
        said: (awaited) =>
          Promise.race([
            qemu.failed,
            until(
              () => `${awaited}, after ${output.slice(-1000)}`,
              () => (awaited.test(output) ? performance.now() : undefined),
            ),
          ]),
        ask: (command, values) => qmp.ask(command, values),
        monitor: (line, cpu) => qmp.monitor(line, cpu),
        save: (file) => qmp.save(`cat > '${file}'`),
      })
    } finally {
      await qemu.end()
    }
  })
}
