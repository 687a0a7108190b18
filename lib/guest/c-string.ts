/**
 * readCString: a guest's text at an address from its boot information.
 *
 * Source: all boot conventions agree: bytes up to a NUL.
 * Gotcha: only memory bounds the text, so the reader needs its own limit. Address 0 means no text.
 */
import { decodeUtf8 } from '../bytes.js'
import { PAGE_SIZE, type Paddr, pfnOf } from '../units.js'
import type { GuestMemory } from './memory.js'

/** The most bytes of a command line, which is text for one screen; a longer one is cut. */
const LENGTH_MAX = 1 << 16

/** The text at an address, up to the end of memory. */
export function readCString(memory: GuestMemory, paddr: Paddr): string {
  if (paddr === 0) return ''
  const bytes: number[] = []
  for (let at = paddr; bytes.length < LENGTH_MAX && memory.has(pfnOf(at)); ) {
    const page = memory.read(at, PAGE_SIZE - (at % PAGE_SIZE))
    const nul = page.indexOf(0)
    bytes.push(...(nul < 0 ? page : page.subarray(0, nul)))
    if (nul >= 0) break
    at += page.length
  }
  return decodeUtf8(Uint8Array.from(bytes))
}
