/**
 * The start-of-day layout against a model of it, page by page around every boundary.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout"; the model states the rules of
 * lib/protocol/xen-pv-layout.ts in closed form.
 * Gotcha: one page more of kernel may need 4 MiB more of mapping, which needs more tables. So sizes around a
 * boundary are tried one by one.
 */
import t from 'tap'
import { GuestMemory } from '../../lib/guest/memory.js'
import type { PvKernel } from '../../lib/kernel/pv-kernel.js'
import { layOut, type PvLayout } from '../../lib/protocol/xen-pv-layout.js'
import type { Range } from '../../lib/units.js'

const BASE = 0xffffffff80000000n
/** Pages of 4 MiB, at a multiple of which the mapping ends. */
const STEP = 1024
/** 512 KiB and the boot stack. */
const SPARE = 129

interface Case {
  readonly abi?: PvKernel['abi']
  readonly virtBase?: bigint
  /** Pages before the kernel. */
  readonly before?: number
  readonly kernelPages: number
  readonly memory?: number | readonly Range<number>[]
  readonly modules?: readonly number[]
  readonly dom0?: boolean
  readonly mapModules?: boolean
  readonly modStartPfn?: boolean
  readonly initP2m?: bigint
}

function lay(one: Case): PvLayout {
  const { abi = 'x86_64', before = 256, kernelPages, memory = 0x8000, modules = [], dom0 = false, initP2m } = one
  const { virtBase = abi === 'x86_64' ? BASE : 0xc0000000n, mapModules = false, modStartPfn = false } = one
  const vstart = virtBase + BigInt(before * 4096)
  const vend = vstart + BigInt(kernelPages * 4096)
  const kernel = { abi, virtBase, vstart, vend, params: { modStartPfn }, ...(initP2m === undefined ? {} : { initP2m }) }
  return layOut(
    kernel as PvKernel,
    new GuestMemory(memory),
    modules.map((length, i) => ({ name: `module${i}`, pieces: [], length })),
    { dom0, mapModules },
  )
}

/** Sizes of a kernel around the first two boundaries, and others. */
const SIZES = [
  1,
  2,
  ...Array.from({ length: 80 }, (_, i) => 535 + i),
  ...Array.from({ length: 80 }, (_, i) => 1555 + i),
  2500,
]

const pagesOf = ({ regions }: PvLayout, name: string): number | undefined =>
  regions.find((region) => region.name === name)?.pages
const show = ({ regions }: PvLayout): string[] => regions.map(({ name, pfn, pages }) => `${name} ${pfn}+${pages}`)

/** Returns the pages of the initial mapping and of its tables, whose own pages and the spare ones must fit. */
function model(next: number, tablesFor: (pages: number) => number): { end: number; tables: number } {
  for (let end = STEP; ; end += STEP) {
    if (end >= next + SPARE + tablesFor(end)) return { end, tables: tablesFor(end) }
  }
}
const FOUR_LEVELS = (pages: number): number => 2 + Math.ceil(pages / 2 ** 18) + Math.ceil(pages / 512)
/** From 0xc0000000 on: an L3, the L2 of the last slot, and the L1 tables. */
const PAE = (pages: number): number => 2 + Math.ceil(pages / 512)

for (const [name, abi, tablesFor, listPages] of [
  ['64-bit', 'x86_64', FOUR_LEVELS, 64],
  ['PAE', 'x86_32p', PAE, 32],
] as const) {
  t.test(`${name}: the mapping leaves room for its tables and 512 KiB, for sizes around each boundary`, async (t) => {
    let [exact, wrong] = [0, 0]
    for (const kernelPages of SIZES) {
      const next = 256 + kernelPages + listPages + 3
      const { end, tables } = model(next, tablesFor)
      if (end === next + SPARE + tables) exact++
      const found = show(lay({ abi, kernelPages }))
      const expected = [
        'pad 0+256',
        `kernel 256+${kernelPages}`,
        `p2m ${256 + kernelPages}+${listPages}`,
        `start_info ${next - 3}+1`,
        `xenstore ${next - 2}+1`,
        `console ${next - 1}+1`,
        `page_tables ${next}+${tables}`,
        `boot_stack ${next + tables}+1`,
        `pad ${next + tables + 1}+${end - next - tables - 1}`,
      ]
      if (found.join() !== expected.join()) wrong++
      if (wrong === 1) t.same(found, expected, `${kernelPages} pages`)
    }
    t.equal(wrong, 0)
    t.equal(exact, 2, 'two sizes fill the mapping to the last page')
  })
}

t.test('a dom0: neither xenstore nor console, and a power of two of pages', async (t) => {
  let wrong = 0
  for (const kernelPages of SIZES) {
    const next = 256 + kernelPages + 64 + 1
    const { end, tables } = model(next, FOUR_LEVELS)
    const chunk = [STEP, 2 * STEP, 4 * STEP].find((size) => size >= end) as number
    const layout = lay({ kernelPages, dom0: true })
    const expected = [
      'pad 0+256',
      `kernel 256+${kernelPages}`,
      `p2m ${256 + kernelPages}+64`,
      `start_info ${next - 1}+1`,
      `page_tables ${next}+${tables}`,
      `boot_stack ${next + tables}+1`,
      `pad ${next + tables + 1}+${end - next - tables - 1}`,
      `pad ${end}+${chunk - end}`,
    ].filter((line) => !line.endsWith('+0'))
    if (show(layout).join() !== expected.join() || layout.allocatedPages !== chunk) wrong++
    if (wrong === 1) t.same(show(layout), expected, `${kernelPages} pages`)
  }
  t.equal(wrong, 0)
  t.notOk('xenstore' in lay({ kernelPages: 1, dom0: true }))
  t.notOk('allocatedPages' in lay({ kernelPages: 1 }), 'only a dom0 has such a number')
})

t.test('a mapping of 2 GiB, whose tables take more than 4 MiB', async (t) => {
  // The tables of the first end would fill the next one to its last page, if they did not become more with it.
  const virtBase = 0xffff880000000000n
  const mapped = 512 * STEP
  for (const more of [-1, 0, 1]) {
    const next = mapped + STEP - SPARE - FOUR_LEVELS(mapped) + more
    const { end, tables } = model(next, FOUR_LEVELS)
    const kernelPages = next - 256 - 0x800 - 1
    const layout = lay({ virtBase, kernelPages, dom0: true, memory: 0x100000 })
    t.equal(pagesOf(layout, 'start_info'), 1)
    t.equal(pagesOf(layout, 'page_tables'), tables, `${more} pages more`)
    const stackEnd = next + tables + 1
    t.ok(show(layout).includes(`pad ${stackEnd}+${end - stackEnd}`), `the mapping ends at ${end}: ${show(layout)}`)
  }
})

t.test("Xen makes a dom0's tables, in its own order; libxenguest makes the others'", async (t) => {
  const levels = (dom0: boolean) => lay({ kernelPages: 1, dom0 }).tables.runs.map(({ level }) => level)
  t.same(levels(true), [4, 1, 2, 3, 1])
  t.same(levels(false), [4, 3, 2, 1])
})

t.test("a dom0's mapped ramdisk comes on top of the power of two, an unmapped one after it", async (t) => {
  const mapped = lay({ kernelPages: 100, dom0: true, modules: [300 * 4096, 1] })
  t.equal(mapped.allocatedPages, 1024 + 301)
  t.equal(mapped.modulesUnmapped, false)
  t.same(
    mapped.modules.map(({ pfn, pages }) => [pfn, pages]),
    [
      [356, 300],
      [656, 1],
    ],
  )
  const apart = lay({ kernelPages: 100, dom0: true, modules: [300 * 4096], modStartPfn: true })
  t.equal(apart.modulesUnmapped, true)
  t.same(apart.modules, [{ name: 'module0', pfn: 1024, pages: 300 }])
  t.equal(apart.allocatedPages, 1324)
})

t.test(
  'modules are unmapped if the kernel takes a pfn, has modules, and the caller does not want them mapped',
  async (t) => {
    for (const modStartPfn of [false, true]) {
      for (const modules of [[], [5000]]) {
        for (const mapModules of [false, true]) {
          const layout = lay({ kernelPages: 1, modStartPfn, modules, mapModules })
          const unmapped = modStartPfn && modules.length > 0 && !mapModules
          t.equal(layout.modulesUnmapped, unmapped)
          if (modules.length === 0) continue
          const pfn = unmapped ? STEP : 257
          t.match(layout.modules, [{ pfn, pages: 2, bytes: 5000 }])
          t.equal('vaddr' in (layout.modules[0] ?? {}), !unmapped)
        }
      }
    }
  },
)

t.test('INIT_P2M: the list and its tables come last, the tables first in a dom0', async (t) => {
  const initP2m = 0x8000000000n
  const guest = lay({ kernelPages: 1, initP2m })
  t.same(show(guest), [
    'pad 0+256',
    'kernel 256+1',
    'start_info 257+1',
    'xenstore 258+1',
    'console 259+1',
    'page_tables 260+5',
    'boot_stack 265+1',
    'pad 266+758',
    'p2m 1024+64',
    'p2m_page_tables 1088+3',
  ])
  t.equal(guest.initP2mPages, 67)
  t.equal(guest.p2m.vaddr, initP2m)
  t.same(
    guest.tables.mappings.map(({ vpn, pages, pfn }) => [vpn, pages, pfn]),
    [
      [Number(BigInt.asUintN(48, BASE) >> 12n), 1024, 0],
      [0x8000000, 64, 1024],
    ],
  )
  t.equal(guest.tables.runs.at(-3)?.pfn, 1088)
  const dom0 = lay({ kernelPages: 1, initP2m, dom0: true })
  t.same(show(dom0).slice(-2), ['p2m_page_tables 1024+3', 'p2m 1027+64'])
  t.equal(dom0.initP2mPages, 67)
  t.equal(dom0.allocatedPages, 1024, 'it does not count them')
  t.notOk('initP2mPages' in lay({ kernelPages: 1 }))
})

t.test('the last mapping may end at the end of the address space', async (t) => {
  for (const [abi, pages, tablesFor, listPages] of [
    ['x86_64', 2 ** 19, FOUR_LEVELS, 2 ** 11],
    ['x86_32p', 2 ** 18, PAE, 2 ** 10],
  ] as const) {
    const most = pages - SPARE - tablesFor(pages) - 3 - listPages - 256
    const layout = lay({ abi, kernelPages: most, memory: 2 ** 20 })
    t.equal(layout.tables.mappings[0]?.pages, pages, 'all of it is mapped')
    t.throws(() => lay({ abi, kernelPages: most + 1, memory: 2 ** 20 }), {
      code: 'does-not-fit',
      expected: abi === 'x86_64' ? 'at most 0x10000000000000000' : 'at most 0x100000000',
      found: abi === 'x86_64' ? '0x10000000000400000' : '0x100400000',
    })
  }
})

t.test('the guest needs all pages of the layout, the pad after it included', async (t) => {
  t.equal(pagesOf(lay({ kernelPages: 1, memory: 1024 }), 'p2m'), 2)
  t.throws(() => lay({ kernelPages: 1, memory: 1023 }), { code: 'memory-too-small', expected: /at least 1024 pages/ })
})

t.test('no part may reach into a hole of the memory, except a pad', async (t) => {
  // kernel 256+20, p2m 276+8, start_info 284, xenstore 285, console 286, page_tables 287+5, boot_stack 292.
  const last = 0x1000
  const withHole = (start: number, end: number) => () =>
    lay({
      kernelPages: 20,
      memory: [
        { start: 0, end: start },
        { start: end, end: last },
      ],
    })
  t.same(show(withHole(1025, 1026)()), show(lay({ kernelPages: 20, memory: last })), 'a hole after all')
  t.ok(withHole(0x80, 0x90)(), 'in the pad before the kernel')
  t.ok(withHole(255, 256)(), 'up to the kernel')
  t.ok(withHole(293, 300)(), 'right after the boot stack')
  t.ok(withHole(300, 300)(), 'ranges that touch are no hole')
  t.ok(withHole(260, 260)(), 'not even in a part')
  const refused = (start: number, end: number, name: string, expected: string, found: string) =>
    t.throws(withHole(start, end), {
      code: 'does-not-fit',
      message: new RegExp(`^the ${name} reaches into a hole`),
      expected: `memory at ${expected}`,
      found: `none at ${found}`,
    })
  refused(256, 257, 'kernel', 'pfn 0x100 to 0x114', '0x100')
  refused(260, 261, 'kernel', 'pfn 0x100 to 0x114', '0x104')
  refused(275, 276, 'kernel', 'pfn 0x100 to 0x114', '0x113')
  refused(276, 280, 'p2m', 'pfn 0x114 to 0x11c', '0x114')
  refused(292, 293, 'boot_stack', 'pfn 0x124 to 0x125', '0x124')
})
