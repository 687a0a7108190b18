/**
 * Large pages as a processor reads them: bit 12 is PAT, and some frames may not be the guest's.
 *
 * Source: Intel SDM vol. 3, 4.5.4, tables 4-17 and 4-18.
 * Gotcha: an entry's address field has bit 12 in it, so masking alone names the frame after the right one.
 */
import { test } from 'tap'
import { walkTo } from '../../lib/guest/table-reader.js'
import {
  buildDomain,
  type Domain,
  entryPfn,
  readKernel,
  readVirtual,
  translate,
  walkPageTables,
} from '../../lib/index.js'
import { entryOrigin } from '../../lib/inspect/explain.js'
import { mappedRuns } from '../../lib/inspect/mapped-runs.js'
import { coreRuns } from '../../lib/snapshot/core-runs.js'
import { buildElf, patternBytes } from '../../lib/testing/index.js'
import { soundGuest } from '../fixtures/damage.js'

const MiB = 2 ** 20
const [PRESENT_RW, PSE, PAT] = [0x3n, 0x80n, 0x1000n]

/** A guest in 64-bit mode whose L2 (and L3) entries are `change`d; its tables map memory to itself. */
async function guest(memory: number, change: (entry: bigint, level: number, index: number) => bigint): Promise<Domain> {
  const elf = buildElf({
    class: 64,
    entry: 0x1000000,
    segments: [{ paddr: 0x1000000, data: patternBytes(5000, 3) }],
  })
  const domain = buildDomain(await readKernel(elf), { type: 'linux', memory })
  for (const { pfn, level, entries } of [...walkPageTables(domain)]) {
    const changed = entries.map((entry, index) => change(entry, level, index))
    domain.memory.write(pfn * 4096, new Uint8Array(changed.buffer))
  }
  return domain
}

test('the PAT bit of a 2 MiB page is no part of its frame', async (t) => {
  const memory = 64 * MiB
  const plain = await guest(memory, (entry) => entry)
  const withPat = await guest(memory, (entry, level) => (level === 2 && entry & PSE ? entry | PAT : entry))
  t.equal(translate(withPat, 0x1000000n)?.pageSize, 2 * MiB, 'it is mapped by a large page')
  for (const vaddr of [0n, 0x1000n, 0x1000000n, 0x1001234n, 0x11fffffn]) {
    const { path: _, ...found } = translate(withPat, vaddr) ?? { path: [] }
    const { path: __, ...expected } = translate(plain, vaddr) ?? { path: [] }
    t.same(found, expected, `0x${vaddr.toString(16)}`)
  }
  t.same(readVirtual(withPat, 0x1000000n, 5000), patternBytes(5000, 3))
  t.same(coreRuns(withPat, 100), coreRuns(plain, 100))
  t.same(mappedRuns(withPat), mappedRuns(plain))
  for (const { level, entries } of walkPageTables(withPat)) {
    for (const entry of entries) {
      const pfn = entry & PSE && level === 2 ? entryPfn(withPat, entry, level) : 0
      t.equal((pfn ?? 0) % 512, 0)
    }
  }
})

test('a large page that reaches past memory maps no frame that the guest does not have', async (t) => {
  const memory = 63 * MiB
  const domain = await guest(memory, (entry, level, index) =>
    level === 2 && index === 31 ? (62n * BigInt(MiB)) | PRESENT_RW | PSE : entry,
  )
  t.equal(translate(domain, 62n * BigInt(MiB) + 5n)?.paddr, 62 * MiB + 5)
  t.equal(translate(domain, 63n * BigInt(MiB) - 1n)?.pfn, 63 * 256 - 1)
  t.equal(translate(domain, 63n * BigInt(MiB)), undefined)
  t.throws(() => readVirtual(domain, 63n * BigInt(MiB) - 8n, 16), { code: 'not-mapped', message: /0x3f00000/ })
  for (const { pfn, pages } of coreRuns(domain, 100)) t.ok(pfn + pages <= 63 * 256)
})

test('a large page over a hole maps what the guest has on both sides of it', async (t) => {
  const domain = await guest(64 * MiB, (entry) => entry)
  t.notOk(domain.memory.has(0xa0), 'there is a hole from 640 KiB on')
  const [below, above] = coreRuns(domain, 100)
  t.match(below, { vaddr: 0n, pfn: 0, pages: 0xa0 })
  t.match(above, { vaddr: 0x100000n, pfn: 0x100 })
})

test('bit 7 of the top table is reserved: no large page, and nothing that is mapped', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const domain = await soundGuest(elfClass)
    const vaddr = domain.regions.find(({ name }) => name === 'kernel')?.vaddr ?? 0n
    const top = translate(domain, vaddr)?.path[0]
    t.ok(top, `class ${elfClass}: it is mapped`)
    if (!top) continue
    const out = new Uint8Array(BigUint64Array.of(top.entry | PSE).buffer)
    domain.memory.write(top.pfn * 4096 + 8 * top.index, out)
    t.equal(translate(domain, vaddr), undefined)
    t.throws(() => readVirtual(domain, vaddr, 16), { code: 'not-mapped' })
    t.equal(entryPfn(domain, top.entry | PSE, top.level), entryPfn(domain, top.entry, top.level), 'the frame is whole')
    t.match(entryOrigin(domain, top.level, top.entry | PSE), { leads: 'absent', why: /bit 7 is reserved/ })
    t.equal([...walkTo(domain, vaddr)].length, 1, 'a walk ends there')
    const below = [...walkPageTables(domain)].filter(({ path }) => path[0]?.index === top.index)
    t.same(below, [], 'and no table below is one of the guest')
  }
})
