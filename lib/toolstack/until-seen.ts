/**
 * Waiting for something that xenstore tells of.
 *
 * Source: docs/misc/xenstore.txt of Xen: a watch is called once at first, and after each change.
 * Gotcha: a change may come while a look is under way, so changes are counted.
 */
import type { XenStore } from './xen-store.js'

/** Looks now and after each change below a path, until there is something to return. @throws the signal's reason. */
export async function untilSeen<T>(
  store: XenStore,
  path: string,
  look: () => Promise<T | undefined>,
  signal: AbortSignal | undefined,
): Promise<T> {
  let wake = (): void => {}
  let changes = 0
  const changed = () => {
    changes++
    wake()
  }
  const unwatch = await store.watch(path, changed)
  signal?.addEventListener('abort', changed)
  try {
    for (;;) {
      signal?.throwIfAborted()
      const known = changes
      const seen = await look()
      if (seen !== undefined) return seen
      if (changes !== known) continue
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  } finally {
    signal?.removeEventListener('abort', changed)
    await unwatch()
  }
}
