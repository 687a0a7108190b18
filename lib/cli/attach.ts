/**
 * A domain's console in the terminal of this command, as with `xl console`.
 *
 * Source: xl(1), "console"; ../live/console.ts.
 * Gotcha: the bytes of the guest go to the terminal as they are: they are its screen.
 */
import type { Duplex } from 'node:stream'
import { writeStandardOutput } from './files.js'

/** Ctrl-], which leaves the console. */
const LEAVE = 0x1d

/**
 * Copies keys to the guest, and its output to standard output, until the guest ends or Ctrl-] is typed.
 * @throws the signal's reason, when the terminal is as it was.
 */
export async function attach(guest: Duplex, signal: AbortSignal): Promise<void> {
  const keyboard = process.stdin
  let isLeft = false
  const leave = () => {
    isLeft = true
    guest.destroy()
  }
  const typed = (bytes: Buffer) => {
    const at = bytes.indexOf(LEAVE)
    guest.write(at < 0 ? bytes : bytes.subarray(0, at))
    if (at >= 0) leave()
  }
  signal.addEventListener('abort', leave)
  if (keyboard.isTTY) keyboard.setRawMode(true)
  keyboard.on('data', typed)
  try {
    await writeStandardOutput(guest)
  } catch (error) {
    if (!isLeft) throw error
    signal.throwIfAborted()
  } finally {
    signal.removeEventListener('abort', leave)
    keyboard.off('data', typed).pause()
    if (keyboard.isTTY) keyboard.setRawMode(false)
  }
}
