/**
 * GDB's remote protocol: breakpoints, registers and memory of a guest in a QEMU.
 *
 * Source: https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html; QEMU docs/system/gdb.rst.
 * Gotcha: a breakpoint in memory would be overwritten when the guest loads something there; a hardware one is not.
 */
import type { Duplex } from 'node:stream'
import { DomainBuilderError } from '../errors.js'
import type { Vaddr } from '../units.js'

/** A stop of the machine. */
export interface GdbStop {
  /** The signal's number. A breakpoint has {@link SIGTRAP}. */
  readonly signal: number
  /** The number of the processor, from 0. */
  readonly cpu: number
}

/** The signal of a breakpoint. */
export const SIGTRAP = 5

/** Stop replies: T and a signal, then pairs; or S and a signal. */
const STOP = /^[TS]([0-9a-f]{2})(?:.*?thread:p?(?:[0-9a-f]+\.)?([0-9a-f]+);)?/

/** A connection to the stub: one answer for each packet, all of them acknowledged. */
export class GdbRemote {
  readonly #socket: Duplex
  #buffer = ''
  /** The monitor's output so far, in hex. */
  #shown = ''
  #waiting: { readonly resolve: (answer: string) => void; readonly reject: (error: unknown) => void } | undefined
  #gone: unknown

  constructor(socket: Duplex) {
    this.#socket = socket
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#buffer += text
      for (;;) {
        const packet = /\$([^#]*)#[0-9a-f]{2}/.exec(this.#buffer)
        if (!packet) return
        this.#buffer = this.#buffer.slice(packet.index + packet[0].length)
        socket.write('+')
        this.#answer(packet[1] ?? '')
      }
    })
  }

  /** An answer that begins with O and is more than `OK` is output of the monitor, and another answer follows. */
  #answer(packet: string): void {
    if (/^O[0-9a-f]/.test(packet)) {
      this.#shown += packet.slice(1)
      return
    }
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.resolve(packet)
  }

  /** Fails the command that waits for an answer, and every later one: QEMU has ended. */
  fail(reason: unknown): void {
    this.#gone ??= reason
    this.#waiting?.reject(reason)
  }

  /** Sends a packet, and returns the answer. @throws the reason of `fail`. */
  ask(text: string): Promise<string> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone)
    const sum = [...Buffer.from(text, 'latin1')].reduce((total, byte) => (total + byte) & 0xff, 0)
    this.#socket.write(`$${text}#${sum.toString(16).padStart(2, '0')}`)
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  /**
   * Sets or removes a hardware breakpoint at a linear address.
   * @throws DomainBuilderError `hypercall-failed` if the stub refuses.
   */
  async setBreakpoint(at: Vaddr, isSet: boolean): Promise<void> {
    const answer = await this.ask(`${isSet ? 'Z' : 'z'}1,${at.toString(16)},1`)
    if (answer === 'OK') return
    throw new DomainBuilderError('hypercall-failed', `QEMU refuses a breakpoint at 0x${at.toString(16)}`, {
      found: answer,
    })
  }

  /** Lets the guest run until something stops the machine. */
  async runOn(): Promise<GdbStop> {
    const [, signal = '0', thread = '1'] = STOP.exec(await this.ask('c')) ?? []
    return { signal: Number.parseInt(signal, 16), cpu: Number.parseInt(thread, 16) - 1 }
  }

  /** Runs a command of QEMU's monitor, and returns what it shows. */
  async monitor(command: string): Promise<string> {
    this.#shown = ''
    await this.ask(`qRcmd,${Buffer.from(command, 'latin1').toString('hex')}`)
    return Buffer.from(this.#shown, 'hex').toString('latin1')
  }
}
