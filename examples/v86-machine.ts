/**
 * A PC in this process: v86, an x86 emulator in WebAssembly, with memory, a boot ROM, and nothing else.
 *
 * Source: https://github.com/copy/v86, its v86.d.ts.
 * Gotcha: v86 is a 32-bit processor with PAE. Unless cr4 has PSE, it reads large pages as small ones, even with PAE.
 */
import { createRequire } from 'node:module'
import { V86 } from 'v86'

/** The description of a machine to start. */
export interface Machine {
  /** Bytes of memory, a multiple of 128 KiB. */
  readonly bytes: number
  /** The 64 KiB in which the processor starts, as bootRom and the qemu format make them. */
  readonly rom: Uint8Array
  /** The content of memory, by physical address in bytes; everything else is zero. */
  readonly content: Iterable<{ readonly paddr: number; readonly bytes: Uint8Array }>
}

/** The state of a machine that was stopped. */
export interface Stopped {
  /** The output of the first serial port. */
  readonly console: string
  /** The byte from the second serial port, if there was one. */
  readonly code?: number
  /** Returns bytes of its memory, by physical address. */
  readonly memory: Uint8Array
}

/**
 * Runs a machine until it writes to its second serial port, or writes text that `until` matches to the first.
 * @param seconds until it fails with an error that holds the output so far.
 */
export async function runInV86({ bytes, rom, content }: Machine, until?: RegExp, seconds = 60): Promise<Stopped> {
  const v86 = new V86({
    wasm_path: createRequire(import.meta.url).resolve('v86/build/v86.wasm'),
    memory_size: bytes,
    bios: { buffer: new Uint8Array(rom).buffer },
    uart1: true,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
  })
  let said = ''
  let timer: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((ready) => v86.add_listener('emulator-ready', ready))
    for (const { paddr, bytes } of content) v86.write_memory(bytes, paddr)
    const code = await new Promise<number | undefined>((resolve, reject) => {
      v86.add_listener('serial0-output-byte', (byte) => {
        said += String.fromCharCode(byte)
        if (until?.test(said)) resolve(undefined)
      })
      v86.add_listener('serial1-output-byte', resolve)
      timer = setTimeout(
        () => reject(new Error(`the machine wrote nothing for ${seconds} s after: ${said}`)),
        seconds * 1000,
      )
      v86.run()
    })
    await v86.stop()
    return { console: said, ...(code === undefined ? {} : { code }), memory: v86.read_memory(0, bytes).slice() }
  } finally {
    clearTimeout(timer)
    await v86.destroy()
  }
}
