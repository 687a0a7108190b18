/**
 * readCString: a text of a guest's, by the address that its boot information holds.
 *
 * Source: the boot conventions all agree on it: bytes up to a NUL.
 * Gotcha: nothing bounds it but memory, so we do; address 0 means that there is none.
 */
import { decodeUtf8 } from '../bytes.js'
import { PAGE_SIZE, type Paddr, pfnOf } from '../units.js'
import type { GuestMemory } from './memory.js'

/** A command line is text for one screen; what claims to be longer is cut off here. */
const LENGTH_MAX = 1 << 16

/** The text there, as far as there is memory. */
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
