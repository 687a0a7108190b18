/**
 * Kdump files of every compression, which libkdumpfile reads as we do, and blocks of the real snappy.
 *
 * Source: test/fixtures/kdump.ts; test/qemu/kdump.qemu.ts has files of a real guest.
 * Gotcha: the memory of the fixture has holes, which libkdumpfile is told to read as zero.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { BLOCK_CODECS, BlockDecoder } from '../../lib/codec/blocks.js'
import { buildDomain, bytesSource, openSnapshot, PAGE_SIZE, readKernel, writeKdump } from '../../lib/index.js'
import { kdumpFile } from '../fixtures/kdump.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { Random } from '../fixtures/random.js'
import { bytesOf } from '../fixtures/snapshots.js'
import { structuredData } from '../fuzz/targets/codec.js'
import { findPython, runPython } from './kdump.js'
import { requirePeer } from './require-peer.js'

const folder = mkdtempSync(join(tmpdir(), 'xdb-kdump-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, bytes?: Uint8Array): string => {
  const path = join(folder, name)
  if (bytes !== undefined) writeFileSync(path, bytes)
  return path
}

t.test('libkdumpfile reads the same pages', async (t) => {
  if ((await requirePeer(t, () => findPython('kdumpfile'))) === undefined) return
  const built = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20, purpose: 'restore' })
  const files = [
    ...BLOCK_CODECS.map((codec) => [codec, kdumpFile({ codec })] as const),
    ['ours', bytesOf(writeKdump(built))] as const,
  ]
  for (const [name, bytes] of files) {
    const { memory } = await openSnapshot(bytesSource(bytes))
    const wanted = Buffer.alloc(0x60 * PAGE_SIZE)
    for (let pfn = 0; pfn < 0x60; pfn++)
      if (memory.has(pfn)) wanted.set(memory.read(pfn * PAGE_SIZE, PAGE_SIZE), pfn * PAGE_SIZE)
    const said = runPython('libkdumpfile', file(`${name}.kdump`, bytes), file(`${name}.memory`, wanted)).toString()
    t.match(said, /pages 96 0\n/, name)
  }
})

t.test("snappy's own blocks", async (t) => {
  if ((await requirePeer(t, () => findPython('snappy'))) === undefined) return
  const random = new Random(7)
  const pages = Array.from({ length: 300 }, () => {
    const page = new Uint8Array(PAGE_SIZE)
    page.set(structuredData(random).subarray(0, PAGE_SIZE))
    return page
  })
  const packed = runPython('snappy', file('plain', Buffer.concat(pages)))
  const decoder = new BlockDecoder(PAGE_SIZE)
  const out = new Uint8Array(PAGE_SIZE)
  let at = 0
  const wrong = pages.filter((page) => {
    const length = packed.readUInt32LE(at)
    decoder.decode('snappy', packed.subarray(at + 4, at + 4 + length), out, 0)
    at += 4 + length
    return Buffer.compare(out, page) !== 0
  })
  t.equal(at, packed.length)
  t.same(wrong, [])
})
