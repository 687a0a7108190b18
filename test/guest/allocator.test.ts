/**
 * The start-of-day allocator: pfn and virtual address advance together, and the whole need is checked at the end.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout".
 * Gotcha: a guest with exactly the pages that were allocated is large enough.
 */
import t from 'tap'
import { Allocator } from '../../lib/guest/allocator.js'

const BASE = 0xffffffff80000000n

t.test('regions follow each other, in pages and in addresses', async (t) => {
  const allocator = new Allocator(BASE)
  t.same(allocator.allocate('kernel', 5000), { name: 'kernel', pfn: 0, pages: 2, vaddr: BASE, bytes: 5000 })
  t.same(allocator.allocate('stack', 4096), { name: 'stack', pfn: 2, pages: 1, vaddr: BASE + 0x2000n })
  t.same(allocator.allocate('none', 0), { name: 'none', pfn: 3, pages: 0, vaddr: BASE + 0x3000n })
  t.equal(allocator.nextPfn, 3)
  t.equal(allocator.nextVaddr, BASE + 0x3000n)
  t.same(
    allocator.regions.map(({ name }) => name),
    ['kernel', 'stack'],
    'a region without pages is not listed',
  )
})

t.test('a region elsewhere has no linear address, and replaces only itself', async (t) => {
  const allocator = new Allocator(BASE)
  const kernel = allocator.allocate('kernel', 4096)
  t.same(allocator.allocateElsewhere('ramdisk', 8192), { name: 'ramdisk', pfn: 1, pages: 2 })
  t.same(allocator.allocateElsewhere('p2m', 4096, 0x1000n), { name: 'p2m', pfn: 3, pages: 1, vaddr: 0x1000n })
  allocator.allocateElsewhere('empty', 0, 0x5000n)
  t.same(allocator.regions, [
    kernel,
    { name: 'ramdisk', pfn: 1, pages: 2 },
    { name: 'p2m', pfn: 3, pages: 1, vaddr: 0x1000n },
  ])
})

t.test('a pad ends at its address or frame', async (t) => {
  const allocator = new Allocator(BASE)
  allocator.padTo(BASE + 0x3000n)
  t.equal(allocator.nextPfn, 3)
  allocator.skipTo(10)
  t.equal(allocator.nextPfn, 10)
  allocator.skipTo(10)
  allocator.skipTo(4)
  t.equal(allocator.nextPfn, 10, 'it never goes back')
  t.same(allocator.regions, [
    { name: 'pad', pfn: 0, pages: 3, vaddr: BASE },
    { name: 'pad', pfn: 3, pages: 7 },
  ])
})

t.test('the last page may be used, the one after it not', async (t) => {
  const allocator = new Allocator(BASE)
  allocator.allocate('kernel', 300 * 4096)
  allocator.allocate('p2m', 4096)
  allocator.allocate('stack', 83 * 4096)
  allocator.requireWithin(384)
  const refusal = (pages: number, name: string, found: string) =>
    t.throws(() => allocator.requireWithin(pages), {
      code: 'memory-too-small',
      message: new RegExp(`no room for its ${name}: .*`),
      expected: 'at least 384 pages (1.5 MiB)',
      found,
    })
  refusal(383, 'stack', '383 pages (1.5 MiB)')
  refusal(301, 'stack', '301 pages (1.18 MiB)')
  refusal(300, 'p2m', '300 pages (1.17 MiB)')
  refusal(256, 'kernel', '256 pages (1 MiB)')
})
