/**
 * A QEMU that a test controls: its console, its monitor, and the stream that it saves.
 *
 * Source: QEMU docs/interop/qmp-spec.rst, docs/devel/migration/main.rst.
 * Gotcha: a machine with -incoming is there only after its stream has been loaded. The monitor for people ends its lines
 * with CR LF.
 */
import { spawn } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
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

const connected = (path: string): Promise<Socket | undefined> =>
  new Promise((resolve) => {
    const socket = connect(path, () => resolve(socket))
    socket.on('error', () => resolve(undefined))
  })

/** Starts QEMU, and ends it after `act`. */
export function withMachine<T>(args: readonly string[], act: (machine: Machine) => Promise<T>): Promise<T> {
  return withDirectory(async (directory) => {
    const path = join(directory, 'qmp')
    const qemu = spawn(QEMU, [...args, '-qmp', `unix:${path},server=on,wait=off`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    let complaint = ''
    qemu.stdout.setEncoding('latin1').on('data', (text: string) => (output += text))
    qemu.stderr.setEncoding('latin1').on('data', (text: string) => (complaint += text))
    const alive = (): void => {
      if (qemu.exitCode !== null)
        throw new Error(`QEMU ended with status ${qemu.exitCode}: ${complaint}\n${output.slice(-2000)}`)
    }
    const socket = await until('connection', () => {
      alive()
      return connected(path)
    })
    const answers: ((answer: { readonly return?: unknown; readonly error?: unknown }) => void)[] = []
    let text = ''
    socket.setEncoding('utf8').on('data', (more) => {
      const lines = (text + more).split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) {
        const message = JSON.parse(line)
        if ('return' in message || 'error' in message) answers.shift()?.(message)
      }
    })
    const ask = async (execute: string, values: object = {}): Promise<unknown> => {
      alive()
      socket.write(`${JSON.stringify({ execute, arguments: values })}\n`)
      const answer = await new Promise<{ readonly return?: unknown; readonly error?: unknown }>((resolve) =>
        answers.push(resolve),
      )
      if (answer.error !== undefined) throw new Error(`${execute}: ${JSON.stringify(answer.error)}`)
      return answer.return
    }
    try {
      await ask('qmp_capabilities')
      await until('end of the loading', async () => {
        const { status } = (await ask('query-status')) as { status: string }
        return status === 'inmigrate' ? undefined : status
      })
      if (complaint !== '') throw new Error(`QEMU complains: ${complaint}`)
      return await act({
        directory,
        console: () => output,
        said: (awaited) =>
          until(
            () => `${awaited}, after ${output.slice(-1000)}`,
            () => {
              alive()
              return awaited.test(output) ? performance.now() : undefined
            },
          ),
        ask,
        monitor: async (line, cpu = 0) =>
          ((await ask('human-monitor-command', { 'command-line': line, 'cpu-index': cpu })) as string).replaceAll(
            '\r',
            '',
          ),
        async save(file) {
          await ask('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 })
          await ask('migrate', { uri: `exec:cat > '${file}'` })
          await until('end of the saving', async () => {
            const { status } = (await ask('query-migrate')) as { status?: string }
            if (status === 'failed') throw new Error('QEMU cannot save the machine')
            return status === 'completed' ? true : undefined
          })
        },
      })
    } finally {
      socket.destroy()
      qemu.kill('SIGKILL')
    }
  })
}
