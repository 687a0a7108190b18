/**
 * Searches of a guest's memory: physical and virtual, in ranges, with the place of each match.
 *
 * Source: ../../lib/inspect/search.ts, strings.ts, location.ts, hexdump.ts; the guests have tables made here.
 * Gotcha: a guest's tables are memory too, so the frames for data are searched by a range where they matter.
 */
import t from 'tap'
import { GuestMemory } from '../../lib/guest/memory.js'
import {
  type Domain,
  findStrings,
  hexPattern,
  locator,
  PAGE_SIZE,
  regexPattern,
  type SearchOptions,
  searchMemory,
  symbolTable,
  textPattern,
} from '../../lib/index.js'
import { hexdump } from '../../lib/inspect/hexdump.js'
import { pagedGuest } from '../fixtures/paged-guest.js'

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

async function found(domain: Domain, text: string, options: SearchOptions = {}) {
  const places: { paddr: number; vaddr?: bigint }[] = []
  for await (const { bytes: _, ...place } of searchMemory(domain, textPattern(text), options)) places.push(place)
  return places
}

t.test('virtual memory', async (t) => {
  const base = 0xffff888000000000n
  const guest = pagedGuest(
    16,
    new Map([
      [base, 5],
      [base + 0x1000n, 2],
      [base + 0x2000n, 9],
      [base + 0x4000n, 2],
      [0x400000n, 5],
    ]),
  )
  // The match begins in frame 5 and ends in frame 2.
  guest.memory.write(5 * PAGE_SIZE + 0xffd, ascii('nee'))
  guest.memory.write(2 * PAGE_SIZE, ascii('dle needle'))
  t.same(await found(guest, 'needle'), [{ paddr: 0x2004 }])
  t.same(await found(guest, 'needle', { virtual: true }), [
    { paddr: 0x5ffd, vaddr: base + 0xffdn },
    { paddr: 0x2004, vaddr: base + 0x1004n },
    { paddr: 0x2004, vaddr: base + 0x4004n },
  ])
  t.same(await found(guest, 'needle', { virtual: true, range: { start: base + 0xffen, end: base + 0x4000n } }), [
    { paddr: 0x2004, vaddr: base + 0x1004n },
  ])
  // A hole between two pages reads as zeros; frame 9 has no content.
  guest.memory.write(2 * PAGE_SIZE + 0xfff, ascii('x'))
  const holes = searchMemory(guest, hexPattern('78 00 00'), { virtual: true })
  t.match(await holes.next(), { value: { vaddr: base + 0x1fffn, paddr: 0x2fff } })
})

t.test('memory that is mapped often is searched once, and all its matches are found', async (t) => {
  const pages = 256
  const maps = new Map<bigint, number>()
  for (let copy = 0n; copy < 8n; copy++) {
    for (let pfn = 0; pfn < pages; pfn++) maps.set(0x10000000n + copy * 0x1000000n + BigInt(pfn * PAGE_SIZE), pfn)
  }
  const guest = pagedGuest(pages, maps)
  let reads = 0
  guest.memory.generate(0, pages * PAGE_SIZE, (offset, out) => {
    reads += out.length
    out.fill(0x2e)
    for (const at of [0x3fffd, 0x80000 - 3, 0x90000]) {
      if (at >= offset && at + 6 <= offset + out.length) out.set(ascii('needle'), at - offset)
      else
        for (let i = 0; i < 6; i++)
          if (at + i >= offset && at + i < offset + out.length) out[at + i - offset] = ascii('needle')[i] as number
    }
  })
  const all = await found(guest, 'needle', { virtual: true })
  t.equal(all.length, 24)
  for (let copy = 0n; copy < 8n; copy++) {
    const offsets = all
      .slice(3 * Number(copy), 3 * Number(copy) + 3)
      .map(({ vaddr }) => (vaddr ?? 0n) - 0x10000000n - copy * 0x1000000n)
    t.same(offsets, [0x3fffdn, 0x7fffdn, 0x90000n])
  }
  reads = 0
  t.same(await found(guest, 'absent', { virtual: true }), [])
  t.ok(reads < 5 * pages * PAGE_SIZE, `${reads} bytes were read`)
})

t.test('ranges, signals and progress', async (t) => {
  const guest = pagedGuest(512, new Map())
  for (let pfn = 0; pfn < 512; pfn += 2) guest.memory.write(pfn * PAGE_SIZE, ascii('mark'))
  t.equal((await found(guest, 'mark')).length, 256)
  t.same(await found(guest, 'mark', { range: { start: 1n, end: 0x2004n } }), [{ paddr: 0x2000 }])
  t.same(await found(guest, 'mark', { range: { start: 0x2000n, end: 0x2003n } }), [])
  await t.rejects(found(guest, 'mark', { range: { start: 5n, end: 5n } }), { code: 'bad-config' })
  const abort = new AbortController()
  abort.abort(new Error('enough'))
  await t.rejects(found(guest, 'mark', { signal: abort.signal }), /enough/)
  const parts: number[] = []
  await found(guest, 'mark', { onProgress: ({ done, total }) => parts.push(done / total) })
  t.equal(parts.at(-1), 1)
})

t.test('holes cost nothing', async (t) => {
  const memory = new GuestMemory(2 ** 40 / PAGE_SIZE)
  memory.write(2 ** 39, ascii('here'))
  const guest = { ...pagedGuest(1, new Map()), memory }
  t.same(await found(guest, 'here'), [{ paddr: 2 ** 39 }])
  const zeros: number[] = []
  for await (const { paddr } of searchMemory(guest, hexPattern('00 00 00 00'))) zeros.push(paddr)
  t.ok(zeros.length > 0 && zeros.length < 2000, `${zeros.length} matches of zeros`)
})

t.test('the location of an address', async (t) => {
  const kernel = 0xffffffff81000000n
  const maps = new Map([
    [kernel, 4],
    [0xffff888000004000n, 4],
    [kernel + 0x1000n, 6],
  ])
  const guest = pagedGuest(16, maps, [{ name: 'kernel', pfn: 4, pages: 2 }])
  const symbols = symbolTable([
    { name: 'startup_64', address: kernel, type: 'T' },
    { name: '_end', address: kernel + 0x2000n, type: 'B' },
    { name: 'far', address: 0x1000n, type: 'A' },
  ])
  const where = locator(guest, symbols)
  t.match(where(0x4010), {
    region: { name: 'kernel', offset: 0x10 },
    vaddrs: [0xffff888000004010n, kernel + 0x10n],
    symbol: { symbol: { name: 'startup_64' }, offset: 0x10n, vaddr: kernel + 0x10n },
  })
  t.same(where(0x8000), { vaddrs: [] })
  t.match(where(0x5000), { region: { name: 'kernel', offset: 0x1000 }, vaddrs: [] })
  const many = new Map(Array.from({ length: 500 }, (_, i) => [BigInt(i * PAGE_SIZE), 3 + (i % 2)] as const))
  t.equal(locator(pagedGuest(8, many))(0x3000).vaddrs.length, 8)
})

t.test('strings', async (t) => {
  const guest = pagedGuest(16, new Map())
  guest.memory.write(0x1ffe, ascii('across\tpages\n four\0abc\0'))
  guest.memory.write(0x4001, new Uint8Array(Buffer.from('wide text', 'utf16le')))
  const all = async (options = {}) => {
    const strings: [number, string][] = []
    for await (const { paddr, text } of findStrings(guest, options)) strings.push([paddr, text])
    return strings
  }
  t.same(await all(), [
    [0x1ffe, 'across\tpages'],
    [0x200b, ' four'],
  ])
  t.same(await all({ least: 6 }), [[0x1ffe, 'across\tpages']])
  t.same(await all({ least: 3 }), [
    [0x1ffe, 'across\tpages'],
    [0x200b, ' four'],
    [0x2011, 'abc'],
  ])
  t.same(await all({ encoding: 'l' }), [[0x4001, 'wide text']])
  await t.rejects(all({ least: 0 }), { code: 'bad-config' })
  await t.rejects(all({ encoding: 'b' }), { code: 'bad-config', message: /the encoding is unknown/ })
})

t.test('a hexdump', async (t) => {
  const base = 0xffff888000000000n
  const guest = pagedGuest(
    16,
    new Map([
      [base, 5],
      [base + 0x2000n, 2],
    ]),
  )
  guest.memory.write(0x5ff0, ascii('0123456789abcdef'))
  const dump = (place: Parameters<typeof hexdump>[1], length: number): string[] =>
    [...hexdump(guest, place, length)].flatMap(({ lines }) => lines)
  t.same(dump({ space: 'virtual', vaddr: base + 0xfe8n, vcpu: 0 }, 0x1020), [
    'ffff888000000fe8  00 00 00 00 00 00 00 00  30 31 32 33 34 35 36 37  |........01234567|',
    'ffff888000000ff8  38 39 61 62 63 64 65 66                           |89abcdef|',
    'ffff888000001000  not mapped: 4096 bytes',
    'ffff888000002000  00 00 00 00 00 00 00 00                           |........|',
    'ffff888000002008',
  ])
  t.same(dump({ space: 'physical', paddr: 0x8000 }, 0x1001), [
    `00008000  ${'00 '.repeat(8)} ${'00 '.repeat(8)} |${'.'.repeat(16)}|`,
    '*',
    `00009000  00${' '.repeat(48)}|.|`,
    '00009001',
  ])
  const end = guest.memory.endPfn * PAGE_SIZE
  t.match(dump({ space: 'physical', paddr: end - 16 }, 48), [
    String,
    `${end.toString(16).padStart(8, '0')}  no memory: 32 bytes`,
    String,
  ])
  t.same(dump({ space: 'physical', paddr: 2 ** 40 }, 16), ['10000000000  no memory: 16 bytes', '10000000010'])
})

t.test('a match is as long as its limit', async (t) => {
  const guest = pagedGuest(16, new Map())
  guest.memory.write(0x1000, new Uint8Array(6000).fill(0x61))
  const lengths: number[] = []
  for await (const { bytes } of searchMemory(guest, regexPattern('a+'))) lengths.push(bytes.length)
  t.same(lengths, [4096, 1904])
})
