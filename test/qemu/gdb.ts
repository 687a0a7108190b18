/**
 * Stops a guest in QEMU before the instruction at an address runs, and reads its registers and its memory.
 *
 * Source: GDB's remote serial protocol (https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html).
 * Gotcha: a breakpoint in memory would be overwritten when the kernel is loaded; a hardware one is not.
 */
import { spawn } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { QEMU, withDirectory } from './harness.js'

export interface Stopped {
  /** rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15, rip. */
  readonly registers: readonly bigint[]
  read(paddr: number, length: number): Promise<Uint8Array>
  /** Runs a command of QEMU's monitor, such as `info pic`, and returns what it shows. */
  monitor(command: string): Promise<string>
}

const CHUNK = 1024

/** A connection to GDB's stub: one answer for each packet, all of them acknowledged. */
class Remote {
  readonly #socket: Socket
  #buffer = ''
  /** The monitor's output so far, in hex. */
  #shown = ''
  #waiting: ((answer: string) => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1').on('data', (text) => {
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
    if (/^O[0-9a-f]/.test(packet)) this.#shown += packet.slice(1)
    else this.#waiting?.(packet)
  }

  /** Runs a command of QEMU's monitor, and returns what it shows. */
  async monitor(command: string): Promise<string> {
    this.#shown = ''
    await this.ask(`qRcmd,${Buffer.from(command, 'latin1').toString('hex')}`)
    return Buffer.from(this.#shown, 'hex').toString('latin1')
  }

  ask(text: string): Promise<string> {
    const sum = [...Buffer.from(text, 'latin1')].reduce((total, byte) => (total + byte) & 0xff, 0)
    this.#socket.write(`$${text}#${sum.toString(16).padStart(2, '0')}`)
    return new Promise((resolve) => {
      this.#waiting = resolve
    })
  }
}

async function connected(path: string): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    const socket = await new Promise<Socket | undefined>((resolve) => {
      const attempt = connect(path, () => resolve(attempt))
      attempt.on('error', () => resolve(undefined))
    })
    if (socket) return socket
    if (tries > 200) throw new Error(`nothing listens at ${path}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Starts QEMU, lets it run to the address, and calls `look`. */
export function stoppedAt<T>(
  args: readonly string[],
  address: number,
  look: (stopped: Stopped) => Promise<T>,
): Promise<T> {
  return withDirectory(async (directory) => {
    const path = join(directory, 'gdb')
    const qemu = spawn(QEMU, [...args, '-S', '-gdb', `unix:${path},server=on,wait=off`], { stdio: 'ignore' })
    const socket = await connected(path)
    try {
      const remote = new Remote(socket)
      await remote.ask(`Z1,${address.toString(16)},1`)
      await remote.ask('c')
      const bytes = Buffer.from(await remote.ask('g'), 'hex')
      return await look({
        registers: Array.from({ length: 17 }, (_, i) => bytes.readBigUInt64LE(8 * i)),
        async read(paddr, length) {
          const parts: Uint8Array[] = []
          for (let at = 0; at < length; at += CHUNK) {
            const size = Math.min(CHUNK, length - at)
            parts.push(Buffer.from(await remote.ask(`m${(paddr + at).toString(16)},${size.toString(16)}`), 'hex'))
          }
          return new Uint8Array(Buffer.concat(parts))
        },
        monitor: (command) => remote.monitor(command),
      })
    } finally {
      socket.destroy()
      qemu.kill()
    }
  })
}
