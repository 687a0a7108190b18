/**
 * A unit test of a paravirtual kernel's boot information: no Xen, no root, no image on disk.
 *
 * Source: README.md; the fields are those of xen/include/public/xen.h, struct start_info.
 * Gotcha: only the named fields are compared; a wrong value in any other passes.
 *
 *     node --test dist/examples/boot-info.test.js      # tap and vitest run the same assertions
 */
import { test } from 'node:test'
import { buildDomain, readKernel } from 'xen-domain-builder'
import { assertMapped, assertStartInfo, buildElf, patternBytes, xenNotes } from 'xen-domain-builder/testing'

test('a 64 MiB guest finds its memory, its command line and itself', async () => {
  const image = buildElf({
    class: 64,
    entry: 0xffffffff80100000n,
    segments: [{ paddr: 0x100000, vaddr: 0xffffffff80100000n, data: patternBytes(64) }],
    notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: 0xffffffff80000000n }),
  })
  const guest = buildDomain(await readKernel(image), { type: 'pv', memory: 64 * 2 ** 20, cmdline: 'quiet' })
  assertStartInfo(guest, { magic: 'xen-3.0-x86_64', nr_pages: 0x4000n, cmd_line: 'quiet' })
  assertMapped(guest, 0xffffffff80100000n, { paddr: 0x100000, writable: true })
})
