/**
 * Compares BSD_SYMTAB with libxenguest: the same image, with its symbol table, for any end of the image and the tables.
 *
 * Source: libxenguest (oracle.ts).
 * Gotcha: on 32-bit, libxenguest reserves up to 68 bytes too few. Where that crosses a page, it writes past its mapping
 * and crashes; only those cases are not compared.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readKernel } from '../../lib/index.js'
import { buildElf, patternBytes, symbolSections, xenNotes } from '../../lib/testing/index.js'
import { guestDifferences } from './compare.js'
import { buildOurs, buildTheirs } from './guest-spec.js'
import { findOracle } from './oracle.js'
import { requirePeer } from './require-peer.js'

const virtBase = { 32: 0xc0000000n, 64: 0xffffffff80000000n }

function bsdKernel(elfClass: 32 | 64, imageBytes: number, symbols: number): Uint8Array {
  const base = virtBase[elfClass]
  const named = Array.from({ length: symbols }, (_, i) => ({ name: `symbol_${i}`, value: i * 16 }))
  return buildElf({
    class: elfClass,
    entry: base,
    segments: [{ paddr: 0, vaddr: base, data: patternBytes(imageBytes) }],
    sections: symbolSections(elfClass, named),
    notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: base, PAE_MODE: 'yes', BSD_SYMTAB: 'yes' }),
  })
}

for (const elfClass of [32, 64] as const) {
  t.test(`${elfClass}-bit`, async (t) => {
    if (!(await requirePeer(t, findOracle))) return
    const dir = t.testdir()
    let crossed = 0
    // The last ones end just before and just after the end of a page.
    for (const [imageBytes, symbols] of [
      [0x1001, 1],
      [0x1fff, 100],
      [0x1000, 0],
      [0xd00, 5],
      [0xea0, 1],
      [0xecf, 1],
      [0xef0, 1],
      [0xf10, 0],
    ] as const) {
      const bytes = bsdKernel(elfClass, imageBytes, symbols)
      const file = join(dir, 'kernel')
      writeFileSync(file, bytes)
      const ours = await buildOurs(await readKernel(bytes), { memoryMiB: 16 })
      const theirs = await buildTheirs(file, { memoryMiB: 16 })
      if (ours.outcome === 'refused') t.fail(ours.error.message)
      else if (theirs.outcome === 'crashed') crossed++
      else if (theirs.outcome === 'refused') t.fail(theirs.reason)
      else t.strictSame(guestDifferences(ours.domain, theirs), [], `${imageBytes} bytes, ${symbols} symbols`)
      await theirs.remove()
    }
    t.equal(crossed > 0, elfClass === 32, 'libxenguest dies where a table would cross a page, and nowhere else')
  })
}
