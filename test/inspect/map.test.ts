/**
 * map and explain describe every byte of start_info, every page-table entry and every region.
 *
 * Source: lib/inspect/map.ts, lib/inspect/explain.ts.
 * Gotcha: exact wording would make these tests fail at each edit; they check completeness and a few facts.
 */
import t from 'tap'
import {
  buildDomain,
  describeMap,
  explainEntry,
  explainStartInfo,
  mappedRuns,
  mapText,
  readKernel,
  walkPageTables,
  walkText,
} from '../../lib/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'

const build = async (elfClass: 32 | 64, notes = {}) =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass, notes })), {
    type: 'pv',
    memory: 32 * 2 ** 20,
    ramdisk: pattern(5000),
  })

t.test('every byte of the page of start_info is told of, once', async (t) => {
  for (const elfClass of [64, 32] as const) {
    let end = 0
    for (const { offset, length, bytes, from } of explainStartInfo(await build(elfClass))) {
      t.equal(offset, end)
      t.equal(bytes.length, length)
      t.not(from, '')
      end = offset + length
    }
    t.equal(end, PAGE_SIZE)
  }
})

t.test('every present entry is explained by the region it leads to', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const domain = await build(elfClass)
    let present = 0
    for (const table of walkPageTables(domain)) {
      for (let index = 0; index < 512; index++) {
        const said = explainEntry(domain, table, index)
        if (table.entries[index] === 0n) {
          if (!said.includes('not present')) t.fail(said)
          continue
        }
        present++
        if (!/pfn 0x[0-9a-f]+ \((kernel|ramdisk|p2m|start_info|xenstore|console|page_tables|boot_stack|pad)/.test(said))
          t.fail(said)
      }
    }
    t.ok(present > 1000, `${present} entries`)
  }
})

t.test('the virtual side covers what is mapped, in order, tables read-only', async (t) => {
  const domain = await build(64, { INIT_P2M: 0x8000000000n })
  const runs = mappedRuns(domain)
  t.equal(runs[0]?.region, 'p2m')
  t.equal(runs[0]?.vaddr, 0x8000000000n)
  t.same(
    runs.filter((run) => !run.writable).map((run) => run.region),
    ['page_tables'],
  )
  for (const [i, run] of runs.entries())
    if (i > 0 && run.vaddr <= (runs[i - 1]?.vaddr ?? 0n)) t.fail(`run ${i} out of order`)
  t.match(JSON.parse(JSON.stringify(describeMap(domain))), { virtual: Array, tables: Array, structs: Array })
  t.ok(mapText(domain).every((line) => line.length <= 80))
})

t.test('the walk of an address names each level', async (t) => {
  const domain = await build(64)
  const said = walkText(domain, domain.vcpus[0]?.registers.rsi ?? 0n)
  t.same(
    said.slice(1, 5).map((line) => line.slice(0, 2)),
    ['L4', 'L3', 'L2', 'L1'],
  )
  t.match(said[4], /start_info/)
  t.equal(walkText(domain, 0x1000n).at(-1), 'not mapped')
  t.equal(walkText(await build(32), 0xc0100000n).length, 5)
})
