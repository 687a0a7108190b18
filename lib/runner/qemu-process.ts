/**
 * A QEMU that this process controls: the monitor, the debugger's stub, the guest's console and what it writes to the
 * exit port. It ends with this process.
 *
 * Source: qemu(1), -chardev socket,fd=; https://nodejs.org/api/child_process.html#optionsstdio: a pipe is a socket.
 * Gotcha: sockets that QEMU inherits have no names, so no file is left and no other process can connect to them.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex, Readable, Writable } from 'node:stream'
import { Readable as NodeReadable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DEBUG_EXIT_PORT } from '../abi/pc.js'
import { DomainBuilderError } from '../errors.js'
import { GdbRemote } from './gdb-remote.js'
import { cannotStart } from './program.js'
import { Qmp, type QmpEvent } from './qmp.js'

/** The numbers of the files that QEMU finds open after its standard ones. */
const FD = { stream: 3, qmp: 4, gdb: 5, exit: 6 } as const
/** The number of the file in which QEMU reads a stream, for `-incoming`. */
export const STREAM_FD = FD.stream

/** The most characters of QEMU's complaint that are kept. */
const COMPLAINT_MAX = 4096

/** The options for starting a QEMU. */
export interface QemuOptions {
  /** The program. */
  readonly program: string
  /** The stream for `-incoming fd:3`. */
  readonly stream?: Iterable<Uint8Array>
  /** Opens the stub for a debugger, which stops the machine. */
  readonly debugs?: boolean
  /** Called with each event of the machine. */
  readonly onEvent?: (event: QmpEvent) => void
  /** Called with each byte that the guest writes to the exit port. */
  readonly onExit?: (code: number) => void
  /** Called with the bytes that the guest writes to its first serial port. */
  readonly onConsole?: (bytes: Uint8Array) => void
}

/** A running QEMU. */
export class QemuProcess {
  readonly qmp: Qmp
  readonly gdb: GdbRemote
  /** Is rejected when QEMU has ended by itself, or cannot be started. */
  readonly failed: Promise<never>
  readonly #child: ChildProcess
  readonly #closed: Promise<void>
  readonly #atExit: () => void
  #complaint = ''
  #reject: (reason: unknown) => void = () => {}

  /** Starts QEMU. A failure to start, as any early end, fails the first command. */
  constructor(args: readonly string[], { program, stream, debugs, onEvent, onExit, onConsole }: QemuOptions) {
    const child = spawn(program, [...args, ...controls(debugs === true, onExit !== undefined)], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    })
    this.#child = child
    this.failed = new Promise((_, reject) => {
      this.#reject = reject
    })
    // A failure that no one waits for is not lost: every later command reports it.
    this.failed.catch(() => {})
    const pipe = (fd: number): Duplex => child.stdio[fd] as Duplex
    this.qmp = new Qmp(pipe(FD.qmp), (event) => onEvent?.(event))
    this.gdb = new GdbRemote(pipe(FD.gdb))
    pipe(FD.exit).on('data', (bytes: Uint8Array) => bytes.forEach((byte) => void onExit?.(byte)))
    ;(child.stdout as Readable).on('data', (bytes: Uint8Array) => onConsole?.(bytes))
    ;(child.stderr as Readable).setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(0, COMPLAINT_MAX)
    })
    // A pipe to a QEMU that has ended fails; the end of QEMU says more.
    for (const fd of Object.values(FD)) pipe(fd).on('error', () => {})
    this.#send(stream ?? [], pipe(FD.stream))
    this.#closed = new Promise((resolve) => {
      child.on('error', (cause) => {
        this.#fail(cannotStart(program, cause))
        resolve()
      })
      child.on('close', () => {
        this.#fail(this.#ending(program))
        resolve()
      })
    })
    this.#atExit = () => child.kill('SIGKILL')
    process.on('exit', this.#atExit)
  }

  #send(stream: Iterable<Uint8Array>, to: Writable): void {
    pipeline(NodeReadable.from(stream), to).catch((error) => {
      // A QEMU that ends before it has read the stream has said why.
      if (error instanceof DomainBuilderError) this.stop(error)
    })
  }

  #fail(reason: unknown): void {
    this.qmp.fail(reason)
    this.gdb.fail(reason)
    this.#reject(reason)
  }

  #ending(program: string): DomainBuilderError {
    const { exitCode, signalCode } = this.#child
    const how = signalCode ?? `status ${exitCode}`
    const said = this.#complaint.trim().replaceAll(/\s*\n\s*/g, '; ')
    return new DomainBuilderError('hypercall-failed', `${program} ended with ${how}${said === '' ? '' : `: ${said}`}`)
  }

  /** Stops QEMU: every command that waits, and every later one, fails for this reason. */
  stop(reason: unknown): void {
    this.#fail(reason)
    this.#child.kill('SIGKILL')
  }

  /** QEMU's complaints so far. */
  get complaint(): string {
    return this.#complaint
  }

  /** Ends QEMU, and waits until the last byte of the console has been read. */
  async end(): Promise<void> {
    process.off('exit', this.#atExit)
    this.#child.kill('SIGKILL')
    await this.#closed
  }
}

/** Returns the arguments for the sockets. */
function controls(debugs: boolean, hasExit: boolean): string[] {
  const socket = (id: string, fd: number): string[] => ['-chardev', `socket,id=${id},fd=${fd}`]
  return [
    ...socket('xdb-qmp', FD.qmp),
    ...['-mon', 'chardev=xdb-qmp,mode=control'],
    ...(debugs ? [...socket('xdb-gdb', FD.gdb), '-gdb', 'chardev:xdb-gdb'] : []),
    ...(hasExit
      ? [
          ...socket('xdb-exit', FD.exit),
          ...['-device', `isa-debugcon,iobase=${DEBUG_EXIT_PORT},readback=0,chardev=xdb-exit`],
        ]
      : []),
  ]
}
