/**
 * A program that runs a guest: how it is started and ended, and the errors that it leads to.
 *
 * Source: https://nodejs.org/api/child_process.html; https://nodejs.org/api/errors.html#common-system-errors.
 * Gotcha: a program that cannot be started has an error and no exit, so either of them ends the waiting.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { DomainBuilderError } from '../errors.js'

/** The most characters of a complaint that are kept: its end has the reason. */
const COMPLAINT_MAX = 4096

/** Returns the error for a program that cannot be started. */
export function cannotStart(name: string, cause: NodeJS.ErrnoException): DomainBuilderError {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'it is not installed, or not in PATH',
    EACCES: 'it is not executable',
  }
  const why = reasons[cause.code ?? ''] ?? cause.message
  return new DomainBuilderError('no-hypervisor', `${name} cannot be started: ${why}`, { cause })
}

/** The ways to end the programs that run. */
const running = new Set<() => void>()
const endAll = (): void => {
  for (const end of running) end()
}

/** A program that runs. It is ended with this process. */
export class Program {
  readonly #name: string
  readonly #child: ChildProcess
  #complaint = ''
  /**
   * Is fulfilled with the exit status when all output has been read; undefined after a signal. Is rejected for a program
   * that cannot be started.
   */
  readonly ended: Promise<number | undefined>

  /**
   * Starts a program with standard output and standard error, and pipes at the numbers from 3 on.
   * @param last the signal that it gets if this process ends first.
   */
  constructor(name: string, args: readonly string[], last: 'SIGTERM' | 'SIGKILL', pipes = 0) {
    this.#name = name
    const child = spawn(name, args, {
      stdio: ['ignore', 'pipe', 'pipe', ...Array.from({ length: pipes }, () => 'pipe' as const)],
    })
    this.#child = child
    const endIt = (): void => this.kill(last)
    running.add(endIt)
    process.off('exit', endAll).on('exit', endAll)
    this.ended = new Promise<number | undefined>((resolve, reject) => {
      child.on('error', (cause) => reject(cannotStart(name, cause)))
      child.on('close', (status) => resolve(status ?? undefined))
    }).finally(() => running.delete(endIt))
    ;(child.stderr as Readable).setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-COMPLAINT_MAX)
    })
  }

  /** Its standard output, or a pipe by its number. */
  pipe(fd: number): unknown {
    return this.#child.stdio[fd]
  }

  /** The text on its standard error so far. */
  get complaint(): string {
    return this.#complaint
  }

  /** Returns the error for a program that has ended by itself, with its complaint. */
  failure(): DomainBuilderError {
    const { exitCode, signalCode } = this.#child
    const said = this.#complaint.trim().replaceAll(/\s*\n\s*/g, '; ')
    const how = `${this.#name} ended with ${signalCode ?? `status ${exitCode}`}`
    return new DomainBuilderError('hypercall-failed', said === '' ? how : `${how}: ${said}`)
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#child.kill(signal)
  }
}
