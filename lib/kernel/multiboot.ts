/**
 * Whether a file has a Multiboot header, and of which version.
 *
 * Source: lib/abi/multiboot.ts.
 * Gotcha: the magic number alone may be code that looks for it; only a valid sum makes it a header.
 */
import { MULTIBOOT_HEADERS } from '../abi/multiboot.js'

/** Returns the version of Multiboot whose header the file has; undefined without a valid header. */
export function multibootName(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return MULTIBOOT_HEADERS.find(({ magic, align, words, within }) => {
    const last = Math.min(within, bytes.length) - 4 * words
    for (let at = 0; at <= last; at += align) {
      if (view.getUint32(at, true) !== magic) continue
      let sum = 0
      for (let word = 0; word < words; word++) sum = (sum + view.getUint32(at + 4 * word, true)) >>> 0
      if (sum === 0) return true
    }
    return false
  })?.name
}
