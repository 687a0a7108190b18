/**
 * QMP: commands to a QEMU, and its events.
 *
 * Source: QEMU docs/interop/qmp-spec.rst; qapi/run-state.json and qapi/migration.json for the commands.
 * Gotcha: answers come in the order of the commands, and events between them. A QEMU that ends answers nothing.
 */
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { DomainBuilderError } from '../errors.js'

/** An event: its name, and its data. */
export interface QmpEvent {
  readonly event: string
  readonly data?: Readonly<Record<string, unknown>>
}

interface Answer {
  readonly return?: unknown
  readonly error?: { readonly class?: string; readonly desc?: string }
}

interface Waiting {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

/** Milliseconds between two questions about a state that changes without an event. */
const POLL = 10

/** A connection to the monitor of a QEMU. */
export class Qmp {
  readonly #socket: Duplex
  readonly #waiting: Waiting[] = []
  readonly #onEvent: (event: QmpEvent) => void
  #text = ''
  #gone: unknown

  constructor(socket: Duplex, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket
    this.#onEvent = onEvent
    socket.setEncoding('utf8').on('data', (more: string) => this.#receive(more))
  }

  #receive(more: string): void {
    const lines = (this.#text + more).split('\n')
    this.#text = lines.pop() ?? ''
    for (const line of lines) {
      const message = JSON.parse(line) as Answer & Partial<QmpEvent>
      if (message.event !== undefined) this.#onEvent(message as QmpEvent)
      else if ('return' in message || 'error' in message) this.#waiting.shift()?.resolve(message)
    }
  }

  /** Fails every command that waits for an answer, and every later one: QEMU has ended. */
  fail(reason: unknown): void {
    this.#gone ??= reason
    for (const { reject } of this.#waiting.splice(0)) reject(reason)
  }

  /**
   * Runs a command, and returns its answer.
   * @throws DomainBuilderError `hypercall-failed` for a command that QEMU refuses; the reason of `fail`.
   */
  async ask(execute: string, values: object = {}): Promise<unknown> {
    if (this.#gone !== undefined) throw this.#gone
    this.#socket.write(`${JSON.stringify({ execute, arguments: values })}\n`)
    const { error, return: value } = await new Promise<Answer>((resolve, reject) =>
      this.#waiting.push({ resolve, reject }),
    )
    if (error === undefined) return value
    throw new DomainBuilderError('hypercall-failed', `QEMU refuses ${execute}: ${error.desc ?? error.class}`)
  }

  /** Runs a command of the monitor for people on a processor. Returns what it shows, with LF as the end of a line. */
  async monitor(line: string, cpu = 0): Promise<string> {
    const shown = await this.ask('human-monitor-command', { 'command-line': line, 'cpu-index': cpu })
    return String(shown).replaceAll('\r', '')
  }

  /** Opens the monitor, and waits until the machine is there: one with -incoming needs its stream first. */
  async open(): Promise<void> {
    await this.ask('qmp_capabilities')
    while ((await this.#status('query-status')) === 'inmigrate') await delay(POLL)
  }

  /**
   * Saves the machine as a stream, which a command of the shell takes. A machine that runs is stopped by it.
   * @throws DomainBuilderError `hypercall-failed`.
   */
  async save(command: string): Promise<void> {
    await this.ask('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 })
    await this.ask('migrate', { uri: `exec:${command}` })
    for (;;) {
      const status = await this.#status('query-migrate')
      if (status === 'completed') return
      if (status === 'failed') throw new DomainBuilderError('hypercall-failed', 'QEMU cannot save the machine')
      await delay(POLL)
    }
  }

  async #status(query: string): Promise<string | undefined> {
    return ((await this.ask(query)) as { readonly status?: string }).status
  }
}
