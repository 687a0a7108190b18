/**
 * The xl format: what is written is what Xen's checker takes, and reads back as the guest it was.
 *
 * Source: lib/snapshot/xen-save.ts; the checker is verify-stream-v2 of Debian's xen-utils.
 * Gotcha: frames are pfns in the file, so guests with different p2m have one and the same file.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PFINFO_XALLOC } from '../../lib/abi/save-stream.js'
import { requirePv } from '../../lib/guest/domain.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  type DomainConfig,
  openXl,
  PAGE_SIZE,
  readKernel,
  readStartInfo,
  translate,
  writeXl,
  type XlOptions,
} from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findVerifyStream } from '../peer/verify-stream.js'

export function xlBytes(domain: Domain, options?: XlOptions): Uint8Array {
  return new Uint8Array(Buffer.concat(Array.from(writeXl(domain, options), (chunk) => chunk.slice())))
}

const config: DomainConfig = {
  type: 'pv',
  memory: 32 * 2 ** 20,
  ramdisk: pattern(50000),
  cmdline: 'console=hvc0',
  name: 'written',
  mapRamdisk: true,
  vcpus: 3,
}
const reverse = { function: (pfn: number) => 100000 - pfn, name: 'reverse' }

const build = async (elfClass: 32 | 64, more: Partial<DomainConfig> = {}): Promise<Domain> =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass, notes: { MOD_START_PFN: 1 } })), { ...config, ...more })

function sameMemory(t: Test, a: Domain, b: Domain): void {
  t.same(a.memory.ranges, b.memory.ranges)
  const bytes = a.memory.pageCount * PAGE_SIZE
  t.equal(Buffer.compare(a.memory.read(0, bytes), b.memory.read(0, bytes)), 0, 'memory')
}

t.test('a guest read back is the guest that was written', async (t) => {
  for (const elfClass of [64, 32] as const) {
    for (const version of [3, 2] as const) {
      const built = await build(elfClass)
      const read = openXl(bytesSource(xlBytes(built, { version })))
      sameMemory(t, read, built)
      t.same(read.vcpus, built.vcpus, 'vcpus')
      t.equal(read.name, 'written')
      const boot = requirePv(built)
      t.same({ ...read.boot, pageTables: 0 }, { ...boot, pageTables: 0 }, 'boot information')
      t.equal(read.boot.pageTables.top, boot.pageTables.top)
      t.equal(read.boot.pageTables.pages, boot.pageTables.pages)
      for (let pfn = 0; pfn < built.memory.endPfn; pfn++) {
        const [ours, theirs] = [built.pageType(pfn), read.pageType(pfn)]
        if (ours.level !== theirs.level || ours.pinned !== theirs.pinned) t.fail(`type of pfn ${pfn}`)
      }
      for (const { name, pfn, pages, vaddr } of read.regions.filter(({ name }) => name !== 'page_tables')) {
        t.ok(
          built.regions.some((r) => r.name === name && r.pfn === pfn && r.pages === pages && r.vaddr === vaddr),
          `${name} was found`,
        )
      }
    }
  }
})

t.test('whatever the p2m, the file is the same, to the last byte', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const expected = xlBytes(await build(elfClass))
    for (const p2m of [{ offset: 4711 }, reverse]) {
      const built = await build(elfClass, { p2m })
      t.equal(Buffer.compare(xlBytes(built), expected), 0, `${elfClass}-bit`)
    }
  }
})

t.test('writing what was read changes only what is not known of a stranger', async (t) => {
  const first = xlBytes(await build(64), { uuid: 'x' })
  t.equal(Buffer.compare(xlBytes(openXl(bytesSource(first)), { uuid: 'x' }), first), 0)
})

t.test('zeroed memory of the kernel is data, free memory is not', async (t) => {
  const paddr = 0x100000
  const segments = [{ paddr, vaddr: 0xffffffff80100000n, data: pattern(100), memsz: 5 * PAGE_SIZE }]
  const built = buildDomain(await readKernel(pvKernelFile({ segments })), { type: 'pv', memory: 2 ** 30 })
  const bytes = xlBytes(built)
  const read = openXl(bytesSource(bytes))
  const placed = [...read.memory.pages()]
  const bss = 0x100 + 4
  t.ok(
    placed.some((run) => bss >= run.pfn && bss < run.pfn + run.pages),
    'the last page of bss',
  )
  t.notOk(
    placed.some((run) => run.pfn + run.pages > 262000),
    'free memory',
  )
  const data = placed.reduce((sum, run) => sum + run.pages, 0)
  t.ok(bytes.length <= (data * PAGE_SIZE + 8 * read.memory.pageCount) * 1.01, 'no larger than it must be')
  t.ok(
    Buffer.from(bytes).includes(Buffer.from([0xff, 0xff, 3, 0, 0, 0, 0, PFINFO_XALLOC << 4])),
    'the last page is sent',
  )
})

t.test('a ramdisk that only a flag would find', async (t) => {
  const built = await build(64, { mapRamdisk: false })
  t.throws(() => xlBytes(built), { code: 'bad-config', message: /mapRamdisk/ })
  const mapped = await build(64)
  const { mod_start, mod_len, flags } = readStartInfo(mapped)
  t.equal(flags & 8, 0)
  t.equal(mod_len, 50000n)
  const found = translate(mapped, mod_start)
  t.same(mapped.memory.read(found?.paddr ?? 0, 100), pattern(100))
})

t.test("what cannot be restored is refused: a dom0, a stranger's page table", async (t) => {
  t.throws(() => xlBytes(buildDomain(dom0Kernel, { ...config, dom0: {} })), { code: 'bad-config', message: /xenstore/ })
  const foreign = await build(64, { p2m: { offset: 5000 } })
  const top = requirePv(foreign).pageTables.top
  foreign.memory.write(top * PAGE_SIZE + 8 * 100, Uint8Array.of(0x67, 0xf0, 0xff, 0x7f, 0, 0, 0, 0))
  t.throws(() => xlBytes(foreign), { code: 'bad-snapshot', message: /L4 table at pfn .*0x7ffff/ })
})
const dom0Kernel = await readKernel(pvKernelFile({ notes: { FEATURES: '!dom0' } }))

t.test("Xen's own checker", async (t) => {
  const verify = await requirePeer(t, findVerifyStream)
  if (!verify) return
  const folder = mkdtempSync(join(tmpdir(), 'xdb-xl-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'saved')
  for (const elfClass of [64, 32] as const) {
    for (const version of [3, 2] as const) {
      for (const vcpus of [1, 4]) {
        writeFileSync(file, xlBytes(await build(elfClass, { vcpus, p2m: reverse }), { version }))
        t.equal(verify(file), undefined, `${elfClass}-bit, version ${version}, ${vcpus} vcpus`)
      }
    }
  }
  writeFileSync(file, xlBytes(await build(64)).fill(0xff, 5000, 5010))
  t.type(verify(file), 'string', 'it would have said')
})
