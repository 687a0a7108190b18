/**
 * describeMap and its drawings: every guest, every format, untrusted names, and bounds for the largest guest.
 *
 * Source: lib/inspect/map-model.ts, map-svg.ts, map-html.ts.
 * Gotcha: a model checked against itself proves nothing; its addresses are compared with translate().
 */
import t from 'tap'
import {
  buildDomain,
  type Domain,
  describeMap,
  mapHtml,
  mapSvg,
  mapText,
  PAGE_SIZE,
  readKernel,
  translate,
} from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { BARE_FORMATS, FORMATS, THROUGH } from '../fixtures/snapshots.js'
import { GUESTS, HOSTILE, hostile } from './map-guests.js'

t.test(
  'every frame once, every run as translate() has it, every byte of a structure by one field at most',
  async (t) => {
    for (const [name, make] of Object.entries(GUESTS)) {
      const domain = await make()
      const map = describeMap(domain)
      t.equal(
        map.physical.reduce((sum, { pages }) => sum + pages, 0),
        domain.memory.pageCount,
        `${name}: all frames`,
      )
      t.ok(map.virtual.length > 3, `${name}: ${map.virtual.length} runs`)
      for (const { vaddr, pfn, pages, access } of map.virtual) {
        for (const page of [0, pages - 1]) {
          const found = translate(domain, BigInt(vaddr) + BigInt(page) * BigInt(PAGE_SIZE))
          t.same([found?.pfn, found?.writable], [pfn + page, access[1] === 'w'], `${name}: ${vaddr}+${page}`)
        }
      }
      t.ok(map.structs.length > 0, `${name}: ${map.structs.map((struct) => struct.name).join(', ')}`)
      for (const { fields, bytes } of map.structs) {
        let end = 0
        for (const { offset, length } of fields) {
          if (offset < end) t.fail(`${name}: a field at ${offset} begins before ${end}`)
          end = offset + length
        }
        t.ok(end <= bytes.length / 2)
      }
      t.ok(
        mapText(domain).every((line) => line.length <= 80),
        `${name}: 80 columns`,
      )
    }
  },
)

t.test('read back from every format, the virtual view is the same', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const domain = await buildDomain(await readKernel(pvKernelFile({ class: elfClass })), {
      type: 'pv',
      memory: 2 ** 24,
    })
    const seen = (map: ReturnType<typeof describeMap>) => map.virtual.reduce((sum, { pages }) => sum + pages, 0)
    // QEMU and kexec start no guest that needs Xen.
    for (const format of FORMATS.filter((one) => !BARE_FORMATS.includes(one))) {
      const back = THROUGH[format](domain)
      t.equal(seen(describeMap(back)), seen(describeMap(domain)), `${elfClass} ${format}`)
      t.match(mapHtml(back), /start_info/)
    }
  }
})

t.test('the same guest gives the same bytes, and a name is never markup', async (t) => {
  for (const [name, make] of Object.entries(GUESTS)) {
    t.equal(mapHtml(await make()), mapHtml(await make()), name)
    const strange = hostile(await make())
    for (const drawn of [mapHtml(strange), mapSvg(strange)]) {
      t.notOk(drawn.includes('<img'), name)
      t.notOk(drawn.includes(HOSTILE), name)
      t.notOk(drawn.includes('\u0007'), name)
    }
    t.equal([...mapHtml(strange).matchAll(/<\/script/g)].length, 2, 'the data and the script, no more')
  }
})

t.test('a guest of 1 TiB makes no page of gigabytes, and what is left out is said', async (t) => {
  const kernel = await readKernel(pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } }))
  const domain = buildDomain(kernel, { type: 'pv', memory: 2 ** 40 })
  const page = mapHtml(domain)
  t.ok(page.length < 2 ** 20, `${page.length} bytes`)
  t.match(page, /all \d+ page tables/)
  // A table of unrelated entries, with the largest possible number of runs.
  const table = new BigUint64Array(2 ** 15)
  for (let pfn = 0; pfn < table.length; pfn++) table[pfn] = BigInt(pfn ^ 1)
  const scattered = buildDomain(kernel, { type: 'pv', memory: 2 ** 27, p2m: { table } })
  t.ok(mapHtml(scattered).length < 8 * 2 ** 20, 'and of entries without any order')
})

t.test('a guest whose tables cannot be read still has a map, which says why', async (t) => {
  for (const name of ['pv64', 'pv32', 'linux, hybrid']) {
    const domain = await (GUESTS[name] as () => Promise<Domain>)()
    const lost = { ...domain, vcpus: domain.vcpus.map((vcpu) => ({ ...vcpu, cr3: 0xfffffff000n })) }
    t.match(describeMap(lost), { paging: { top: null, fault: /cr3 names a frame/ }, virtual: [] }, name)
    t.match(mapHtml(lost), /cr3 names a frame/)
    t.match(mapSvg(lost), /no page tables can be read/)
    t.match(mapText(lost).join(' '), /cr3 names a frame/)
    t.same(describeMap({ ...domain, vcpus: [] }).registers, {})
  }
  // Every table damaged: the map still ends.
  const domain = await (GUESTS.pv64 as () => Promise<Domain>)()
  for (const { pfn } of describeMap(domain).tables) {
    domain.memory.write(pfn * PAGE_SIZE, pattern(PAGE_SIZE, pfn))
  }
  t.ok(mapHtml(domain).length < 8 * 2 ** 20)
})
