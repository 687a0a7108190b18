/** Records of zero pages that are made and read many at a time, against records made and read one by one. */
import t from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  writeQemuStream,
} from '../../lib/index.js'
import { zeroPages } from '../../lib/snapshot/qemu-zero-pages.js'
import { pvhKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const RECORD = 9
/** "The page is zero, and lies in the block of the page before": QEMU's migration/ram.c. */
const FLAGS = 0x22

function singly(at: number, pages: number): Buffer {
  const out = Buffer.alloc(pages * RECORD)
  for (let i = 0; i < pages; i++) out.writeBigUInt64BE(BigInt(at + i * PAGE_SIZE + FLAGS), i * RECORD)
  return out
}

t.test('records are those of the address, in any order of windows', async (t) => {
  const put = zeroPages()
  const starts = [0, 16 * MiB - PAGE_SIZE, 4 * GiB - 3 * PAGE_SIZE, 5 * MiB, 2 ** 40 - PAGE_SIZE, 2 ** 48, 4 * GiB, 0]
  for (const at of starts) {
    for (const pages of [0, 1, 7, 5000, 9001]) {
      const out = new Uint8Array(pages * RECORD).fill(0xff)
      put(out, at)
      t.ok(singly(at, pages).equals(out), `${pages} pages from ${at}`)
    }
  }
})

async function guestOfHoles(): Promise<{ guest: Domain; stream: Uint8Array }> {
  const kernel = await readKernel(pvhKernelFile({ paddr: 0x100000 }))
  const guest = buildDomain(kernel, { type: 'pvh', memory: 64 * MiB, purpose: 'vmm' })
  return { guest, stream: bytesOf(writeQemuStream(guest)) }
}

t.test('a page with content is found at any place among zero pages', async (t) => {
  const { guest, stream } = await guestOfHoles()
  const block = Buffer.from(stream).lastIndexOf(singly(40 * MiB, 10))
  t.ok(block > 0)
  for (const page of [0, 1, 62, 63, 64, 65, 500, 5000]) {
    // The record becomes a page with content: nine bytes become a header and 4096 bytes.
    const paddr = 40 * MiB + page * PAGE_SIZE
    const place = block + page * RECORD
    const header = Buffer.alloc(8)
    header.writeBigUInt64BE(BigInt(paddr + 0x28))
    const changed = Buffer.concat([
      stream.subarray(0, place),
      header,
      Buffer.alloc(PAGE_SIZE, 0x5a),
      stream.subarray(place + RECORD),
    ])
    const read = await openSnapshot(bytesSource(changed))
    t.equal(read.memory.read(paddr, 1)[0], 0x5a, `page ${page}`)
    t.equal(read.memory.read(paddr - PAGE_SIZE, 1)[0], 0)
    t.equal(read.memory.read(paddr + PAGE_SIZE, 1)[0], 0)
    t.same(read.memory.ranges, guest.memory.ranges)
  }
})

t.test('a record that is damaged among zero pages is refused at its place', async (t) => {
  const { stream } = await guestOfHoles()
  const block = Buffer.from(stream).lastIndexOf(singly(40 * MiB, 10))
  for (const page of [3, 700, 4000]) {
    const place = block + page * RECORD
    const repeated = Buffer.from(stream)
    repeated[place + 8] = 1
    await t.rejects(openSnapshot(bytesSource(repeated)), { code: 'unknown-format', message: /one byte repeated/ })
    const outside = Buffer.from(stream)
    outside[place + 4] = 0xff
    await t.rejects(openSnapshot(bytesSource(outside)), {
      code: 'bad-snapshot',
      message: /lies outside its block/,
      offset: place,
    })
  }
})
