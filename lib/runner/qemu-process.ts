/**
 * A QEMU that this process controls: the monitor, the debugger's stub, the guest's console, and the bytes that the
 * guest writes to the exit port.
 *
 * Source: qemu(1), -chardev socket,fd=; https://nodejs.org/api/child_process.html#optionsstdio: a pipe is a socket.
 * Gotcha: sockets that QEMU inherits have no names, so no file is left, and no other process can connect to them.
 */

import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DEBUG_EXIT_PORT } from '../abi/pc.js'
import { DomainBuilderError } from '../errors.js'
import { GdbRemote } from './gdb-remote.js'
import { Program } from './program.js'
import { Qmp, type QmpEvent } from './qmp.js'

/** The numbers of the files that QEMU finds open. */
const FD = { console: 1, stream: 3, qmp: 4, gdb: 5, exit: 6 } as const
const PIPES = 4
/** The number of the file in which QEMU reads a stream, for `-incoming`. */
export const STREAM_FD = FD.stream

/** The options for starting a QEMU. */
export interface QemuOptions {
  /** The program. */
  readonly program: string
  /** The stream for `-incoming`. */
  readonly stream?: Iterable<Uint8Array>
  /** Opens the stub for a debugger. */
  readonly debugs?: boolean
  /** Called with each event of the machine. */
  readonly onEvent?: (event: QmpEvent) => void
  /** Called with each byte that the guest writes to the exit port, which only then exists. */
  readonly onExit?: (code: number) => void
  /** Called with the bytes that the guest writes to its first serial port. */
  readonly onConsole?: (bytes: Uint8Array) => void
}

/** A QEMU that runs. */
export class QemuProcess {
  readonly qmp: Qmp
  readonly gdb: GdbRemote
  /** Is rejected when QEMU has ended by itself, or cannot be started. */
  readonly failed: Promise<never>
  readonly #program: Program
  #reject: (reason: unknown) => void = () => {}

  /** Starts QEMU. If it ends by itself, each command fails for that reason. */
  constructor(args: readonly string[], { program, stream, debugs, onEvent, onExit, onConsole }: QemuOptions) {
    this.#program = new Program(
      program,
      [...args, ...controls(debugs === true, onExit !== undefined)],
      'SIGKILL',
      PIPES,
    )
    const socket = (fd: number): Socket => this.#program.pipe(fd) as Socket
    this.qmp = new Qmp(socket(FD.qmp), (event) => onEvent?.(event))
    this.gdb = new GdbRemote(socket(FD.gdb))
    socket(FD.console).on('data', (bytes: Uint8Array) => onConsole?.(bytes))
    socket(FD.exit).on('data', (bytes: Uint8Array) => {
      for (const byte of bytes) onExit?.(byte)
    })
    // A pipe to a QEMU that has ended fails; the end of QEMU says more.
    for (const fd of Object.values(FD)) socket(fd).on('error', () => {})
    this.failed = new Promise((_, reject) => {
      this.#reject = reject
    })
    // A failure that is not waited for is not lost: every later command reports it.
    this.failed.catch(() => {})
    this.#program.ended.then(
      () => this.#fail(this.#program.failure()),
      (error) => this.#fail(error),
    )
    pipeline(Readable.from(stream ?? []), socket(FD.stream)).catch((error) => {
      // A QEMU that ends before it has read the stream has said why.
      if (error instanceof DomainBuilderError) this.stop(error)
    })
  }

  #fail(reason: unknown): void {
    this.qmp.fail(reason)
    this.gdb.fail(reason)
    this.#reject(reason)
  }

  /** QEMU's complaints so far. */
  get complaint(): string {
    return this.#program.complaint
  }

  /** Stops QEMU: every command that waits, and every later one, fails for this reason. */
  stop(reason: unknown): void {
    this.#fail(reason)
    this.#program.kill('SIGKILL')
  }

  /** Ends QEMU, and waits until the last byte of the console has been read. */
  async end(): Promise<void> {
    this.#program.kill('SIGKILL')
    await this.#program.ended.catch(() => {})
  }
}

/** Returns the arguments for the sockets. */
function controls(debugs: boolean, hasExit: boolean): string[] {
  const socket = (id: string, fd: number): string[] => ['-chardev', `socket,id=${id},fd=${fd}`]
  const exit = `isa-debugcon,iobase=${DEBUG_EXIT_PORT},readback=0,chardev=xdb-exit`
  return [
    ...[...socket('xdb-qmp', FD.qmp), '-mon', 'chardev=xdb-qmp,mode=control'],
    ...(debugs ? [...socket('xdb-gdb', FD.gdb), '-gdb', 'chardev:xdb-gdb'] : []),
    ...(hasExit ? [...socket('xdb-exit', FD.exit), '-device', exit] : []),
  ]
}
