/**
 * Stops a guest in QEMU before the instruction at an address runs, and reads its registers and its memory.
 *
 * Source: GDB's remote serial protocol (https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html).
 * Gotcha: a machine with -incoming has nothing to stop until its stream has been loaded.
 */
import { QemuProcess } from '../../lib/runner/qemu-process.js'
import { QEMU } from './harness.js'

export interface Stopped {
  /** rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15, rip. */
  readonly registers: readonly bigint[]
  read(paddr: number, length: number): Promise<Uint8Array>
  /** Runs a command of QEMU's monitor, such as `info pic`, and returns what it shows. */
  monitor(command: string): Promise<string>
}

const CHUNK = 1024

/** Starts QEMU, lets it run to the address, and calls `look`. */
export async function stoppedAt<T>(
  args: readonly string[],
  address: number,
  look: (stopped: Stopped) => Promise<T>,
): Promise<T> {
  const qemu = new QemuProcess([...args, '-S'], { program: QEMU, debugs: true })
  const { gdb, qmp } = qemu
  try {
    await qmp.open()
    await gdb.setBreakpoint(BigInt(address), true)
    await gdb.runOn()
    const bytes = Buffer.from(await gdb.ask('g'), 'hex')
    return await look({
      registers: Array.from({ length: 17 }, (_, i) => bytes.readBigUInt64LE(8 * i)),
      async read(paddr, length) {
        const parts: Uint8Array[] = []
        for (let at = 0; at < length; at += CHUNK) {
          const size = Math.min(CHUNK, length - at)
          parts.push(Buffer.from(await gdb.ask(`m${(paddr + at).toString(16)},${size.toString(16)}`), 'hex'))
        }
        return new Uint8Array(Buffer.concat(parts))
      },
      monitor: (command) => gdb.monitor(command),
    })
  } finally {
    await qemu.end()
  }
}
