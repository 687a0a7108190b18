/**
 * The console page of a guest at its first instruction.
 *
 * Source: xen/include/public/io/console.h; tools/libs/guest/xg_dom_boot.c, xc_dom_console_init.
 * Gotcha: only a host that knows `connection` sets it to connected. Elsewhere a guest that reads it would stay silent,
 * so a restored guest starts with zero: its host marks the page itself.
 */
import { XENCONS_CONNECTION_OFFSET, XENCONSOLE_DISCONNECTED } from '../abi/console-ring.js'
import { type XenRelease, xenHas } from '../abi/xen-release.js'
import type { GuestMemory } from '../guest/memory.js'
import type { Purpose } from '../guest/purpose.js'
import { PAGE_SIZE, type Pfn, paddrOf } from '../units.js'

/** Marks the console page as that release does when it creates a guest. Any other page stays zero. */
export function markConsole(memory: GuestMemory, pfn: Pfn, purpose: Purpose, xen: XenRelease): void {
  if (purpose !== 'create' || !xenHas(xen, 'console-disconnected')) return
  const page = new Uint8Array(PAGE_SIZE)
  page[XENCONS_CONNECTION_OFFSET] = XENCONSOLE_DISCONNECTED
  memory.write(paddrOf(pfn), page)
}
