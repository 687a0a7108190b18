/**
 * Whether a PV guest's hypercall page is filled.
 *
 * Source: xen/include/public/elfnote.h (XEN_ELFNOTE_HYPERCALL_PAGE), arch-x86/xen-x86_64.h and xen-x86_32.h.
 * Gotcha: an empty page is right in a guest that Xen is to create, since Xen fills it then. A restored guest crashes in
 * it.
 */
import { XEN_ELFNOTE, XEN_NOTE_OWNER } from '../abi/elfnote.js'
import { HYPERCALL, HYPERCALL_SLOT_BYTES, HYPERCALL_VECTOR } from '../abi/hypercall.js'
import { concat, encodeLatin1, indexOf } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { SYSCALL } from '../guest/hypercall-page.js'
import { translate } from '../guest/translate.js'
import { hex, PAGE_SIZE, type Pfn, paddrOf } from '../units.js'

/** A guest's hypercall page. */
interface HypercallPage {
  readonly pfn: Pfn
  /** Whether its slots enter the hypervisor. */
  readonly filled: boolean
}

/**
 * Returns the hypercall page of a PV guest, from its builder or from the kernel's own note in memory. Returns undefined
 * where neither names it.
 */
export function findHypercallPage(domain: Domain): HypercallPage | undefined {
  const { boot } = domain
  if (boot.kind !== 'start_info') return undefined
  const pfn = boot.hypercallPage ?? notedPage(domain)
  return pfn === undefined ? undefined : { pfn, filled: isFilled(domain.memory.read(paddrOf(pfn), PAGE_SIZE)) }
}

/** Returns a warning about the page for people; nothing where all is well. */
export function hypercallText(page: HypercallPage | undefined): string[] {
  if (page === undefined || page.filled) return []
  return [
    `the hypercall page at pfn ${hex(page.pfn)} is empty: Xen fills it when it creates the guest, and so does writing an xl file`,
  ]
}

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer)
const OWNER = encodeLatin1(`${XEN_NOTE_OWNER}\0`)
/** Returns the note from its header to its value, whose width is the guest's. */
const noteStart = (bytes: 4 | 8): Uint8Array => concat([words(OWNER.length, bytes, XEN_ELFNOTE.HYPERCALL_PAGE), OWNER])

/** Returns the page that a note in the guest's memory names: a kernel's notes are part of its image. */
function notedPage(domain: Domain): Pfn | undefined {
  for (const { bytes } of domain.memory.chunks()) {
    for (const width of [8, 4] as const) {
      const start = noteStart(width)
      const at = indexOf(bytes, start)
      if (at < 0 || at + start.length + width > bytes.length) continue
      const view = new DataView(bytes.buffer, bytes.byteOffset + at + start.length, width)
      const vaddr = width === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true))
      const found = vaddr % BigInt(PAGE_SIZE) === 0n ? translate(domain, vaddr) : undefined
      if (found !== undefined) return found.pfn
    }
  }
  return undefined
}

const INT = Uint8Array.of(0xcd, HYPERCALL_VECTOR)

/** Returns whether a slot that always exists puts its number into eax and enters the hypervisor. */
function isFilled(page: Uint8Array): boolean {
  const at = HYPERCALL.sched_op * HYPERCALL_SLOT_BYTES
  const slot = page.subarray(at, at + HYPERCALL_SLOT_BYTES)
  const number = Uint8Array.of(0xb8, HYPERCALL.sched_op, 0, 0, 0)
  return indexOf(slot, number) >= 0 && (indexOf(slot, SYSCALL) >= 0 || indexOf(slot, INT) >= 0)
}
