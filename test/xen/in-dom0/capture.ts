/**
 * capture.mjs DOMID FILE xen-core|xl [suspend]: captures a domain of this Xen into a file.
 *
 * Source: our own; it says how long the guest stood still, and how long one copy of its memory takes.
 * Gotcha: the copy to compare with is made with the domain paused as well, into one buffer of the size of its memory.
 */
import { writeFile } from 'node:fs/promises'
import type { Domain } from 'xen-domain-builder'
import { PAGE_SIZE, writeSnapshot } from 'xen-domain-builder'
import { capture, FRAMES_AT_ONCE, type LiveXen, openXen } from 'xen-domain-builder/live'

const [domid, file = '', format, suspend] = process.argv.slice(2)
const xen = await openXen()
const { domain, pausedMs } = await capture(xen, Number(domid), { suspend: suspend === 'suspend' })
const copyMs = await copyOnce(xen, Number(domid), domain)
const begun = performance.now()
const [image] = writeSnapshot(domain, format === 'xl' ? 'xl' : 'xen-core')
if (image !== undefined) await writeFile(file, image)
const written = ((performance.now() - begun) / 1000).toFixed(2)
console.log(`captured: ${domain.type}, ${domain.memory.pageCount} pages, ${domain.vcpus.length} vcpus`)
console.log(
  `paused ${pausedMs.toFixed()} ms, copy ${copyMs.toFixed()} ms, ratio ${(pausedMs / copyMs).toFixed(2)}, written in ${written} s`,
)
await xen.close()

/** Returns the time for one copy of a domain's memory, in milliseconds. */
async function copyOnce(xen: LiveXen, domid: number, { memory, p2m }: Domain): Promise<number> {
  const frames: bigint[] = []
  for (const { start, end } of memory.ranges) {
    for (let pfn = start; pfn < end; pfn++) frames.push(BigInt(p2m.mfn(pfn) ?? pfn))
  }
  const all = BigUint64Array.from(frames)
  await xen.pauseDomain(domid)
  const begun = performance.now()
  const out = new Uint8Array(all.length * PAGE_SIZE)
  for (let at = 0; at < all.length; at += FRAMES_AT_ONCE) {
    const some = all.subarray(at, at + FRAMES_AT_ONCE)
    await xen.readFrames(domid, some, out.subarray(at * PAGE_SIZE, (at + some.length) * PAGE_SIZE))
  }
  const ms = performance.now() - begun
  await xen.unpauseDomain(domid)
  return ms
}
