/**
 * The needs of a PV guest's parts before they can be placed: a byte of image, a machine frame each, room for symbols.
 *
 * Source: found by comparing generated kernels with libxenguest (test/peer/generated.long.ts).
 * Gotcha: a p2m with a hole where a part is placed is refused; other holes are valid.
 */

import t from 'tap'
import { bsdSymtab } from '../../lib/kernel/bsd-symtab.js'
import { physicalExtent } from '../../lib/kernel/elf.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { buildDomain } from '../../lib/protocol/build.js'
import { buildElf, patternBytes, symbolSections, xenNotes } from '../../lib/testing/index.js'
import { paddrOf } from '../../lib/units.js'
import { parseElf } from '../fixtures/elf-at-once.js'
import { pvKernelFile } from '../fixtures/kernels.js'

const MEMORY = 64 << 20

t.test('an image of no bytes is refused', async (t) => {
  const kernel = await readKernel(pvKernelFile({ segments: [{ paddr: 0x100000, memsz: 0 }] }))
  t.throws(() => buildDomain(kernel, { type: 'pv', memory: MEMORY }), {
    code: 'wrong-layout',
    message: /image is empty/,
  })
})

t.test('everything that is placed needs a machine frame', async (t) => {
  const kernel = await readKernel(pvKernelFile({ pages: 3 }))
  const build = (hole?: number) =>
    buildDomain(kernel, {
      type: 'pv',
      memory: MEMORY,
      ramdisk: patternBytes(5000),
      p2m: { function: (pfn) => (pfn === hole ? undefined : pfn + 7) },
    })
  const { regions } = build()
  for (const { name, pfn, pages } of regions.filter((r) => r.name !== 'pad')) {
    const message = new RegExp(`a hole where the ${name} must be`)
    t.throws(() => build(pfn), { code: 'bad-config', message }, `the first page of the ${name}`)
    t.throws(() => build(pfn + pages - 1), { code: 'bad-config', message }, `the last page of the ${name}`)
  }
  for (const { pfn } of regions.filter((r) => r.name === 'pad')) t.doesNotThrow(() => build(pfn), 'the pad needs none')
  t.doesNotThrow(() => build(MEMORY / 4096 - 1), 'nor does memory that nothing was placed in')
})

for (const elfClass of [64, 32] as const) {
  t.test(`${elfClass}-bit: the symbol table lies after the image, and the next region after both`, async (t) => {
    const virtBase = elfClass === 64 ? 0xffffffff80000000n : 0xc0000000n
    const file = buildElf({
      class: elfClass,
      entry: virtBase + 0x100000n,
      segments: [{ paddr: 0x100000, data: patternBytes(4090) }],
      sections: symbolSections(elfClass, [{ name: 'long'.repeat(1000), value: 1 }]),
      notes: xenNotes({
        XEN_VERSION: 'xen-3.0',
        LOADER: 'generic',
        VIRT_BASE: virtBase,
        PAE_MODE: 'yes',
        BSD_SYMTAB: 'yes',
      }),
    })
    const elf = parseElf(file)
    const extent = physicalExtent(elf)
    const symtab = extent && bsdSymtab(elf, extent)
    if (!symtab) return t.fail('no symbol table')
    const { memory, regions } = buildDomain(await readKernel(file), { type: 'pv', memory: MEMORY })
    const region = regions.find(({ name }) => name === 'kernel')
    if (!region) return t.fail('no kernel')
    t.equal(region.pages, 3, 'the image and its symbols')
    for (const { offset, bytes } of symtab.pieces) {
      const paddr = paddrOf(region.pfn) + Number(symtab.pstart) - 0x100000 + offset
      t.strictSame(memory.read(paddr, bytes.length), Uint8Array.from(bytes), `a piece of ${bytes.length} bytes`)
    }
  })
}
