/**
 * PAE tables outside Xen: the four L3 entries lie at any multiple of 32 bytes, as in a process of 32-bit Linux.
 *
 * Source: Intel SDM vol. 3, 4.4.1.
 * Gotcha: bits 5 to 11 of cr3 are part of the address, unlike in 64-bit mode.
 */
import t from 'tap'
import { CR0_PG, CR4_PAE } from '../../lib/abi/x86.js'
import { pageTypes } from '../../lib/guest/domain.js'
import { GuestMemory } from '../../lib/guest/memory.js'
import { identityWhere } from '../../lib/guest/pfn-view.js'
import { walkPageTables, walkTo } from '../../lib/guest/table-reader.js'
import { waitingVcpu } from '../../lib/guest/vcpu.js'
import { type Domain, PAGE_SIZE, readVirtual, translate } from '../../lib/index.js'

const [L3, L2, L1, DATA] = [1, 2, 3, 5] as const
const entry = (pfn: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(pfn * PAGE_SIZE + 7)).buffer)

/** A guest whose L3 begins at that byte of its page, and maps one page at 0xc0000000. */
function guestWith(offset: number): Domain {
  const memory = new GuestMemory([{ start: 0, end: 16 }])
  const boot = { kind: 'firmware', hvmParams: [] } as const
  memory.write(L3 * PAGE_SIZE + offset + 3 * 8, entry(L2))
  memory.write(L2 * PAGE_SIZE, entry(L1))
  memory.write(L1 * PAGE_SIZE, entry(DATA))
  memory.write(DATA * PAGE_SIZE, Buffer.from('here'))
  const cr3 = BigInt(L3 * PAGE_SIZE + offset)
  return {
    ...{ type: 'hvm', abi: 'x86_32', name: '', memory, maxmem: 16 * PAGE_SIZE, regions: [], boot },
    vcpus: [{ ...waitingVcpu(0), cr0: BigInt(CR0_PG), cr4: BigInt(CR4_PAE), cr3 }],
    p2m: identityWhere(memory),
    pageType: pageTypes(boot),
  }
}

for (const offset of [0, 0x20, 0x7e0, 0xfe0]) {
  t.test(`the L3 at byte ${offset} of its page`, async (t) => {
    const guest = guestWith(offset)
    t.equal(translate(guest, 0xc0000123n)?.paddr, DATA * PAGE_SIZE + 0x123)
    t.equal(translate(guest, 0x123n), undefined)
    t.equal(Buffer.from(readVirtual(guest, 0xc0000000n, 4)).toString(), 'here')
    const tables = [...walkPageTables(guest)].map(({ level, pfn, vaddr }) => [level, pfn, vaddr])
    t.same(tables, [
      [3, L3, 0n],
      [2, L2, 0xc0000000n],
      [1, L1, 0xc0000000n],
    ])
    const way = [...walkTo(guest, 0xc0000000n)].map(({ table, index }) => [table.level, index, table.entries[index]])
    t.same(way, [
      [3, 3, BigInt(L2 * PAGE_SIZE + 7)],
      [2, 0, BigInt(L1 * PAGE_SIZE + 7)],
      [1, 0, BigInt(DATA * PAGE_SIZE + 7)],
    ])
  })
}

t.test('the top table has four entries: bytes after them name no table', async (t) => {
  for (const offset of [0, 0x20]) {
    const guest = guestWith(offset)
    guest.memory.write(L3 * PAGE_SIZE + offset + 4 * 8, entry(DATA + 1))
    t.same(
      [...walkPageTables(guest)].map(({ level, pfn }) => [level, pfn]),
      [
        [3, L3],
        [2, L2],
        [1, L1],
      ],
    )
  }
})
