/**
 * A kernel moved by its relocation table: the words that change, by how much, and the file, which must not change.
 *
 * Source: test/qemu tests the meaning of the three lists with real kernels, which boot.
 * Gotcha: a real table cannot be checked word by word, so the table here is our own.
 */
import t from 'tap'
import { buildDomain, DomainBuilderError, readKernel } from '../../lib/index.js'
import type { Relocs } from '../../lib/kernel/relocs.js'
import { relocate } from '../../lib/protocol/relocate.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'

const MiB = 2 ** 20
const BASE = 0xffffffff80000000n
const none = new Int32Array(0)

/** Two segments of one linear mapping, the second with another p_vaddr, as per-cpu data has. */
const elf64 = (trailing?: Uint8Array): Uint8Array =>
  buildElf({
    class: 64,
    entry: 0x1000000,
    segments: [
      { paddr: 0x1000000, vaddr: BASE + 0x1000000n, data: patternBytes(0x2000), align: 0x200000 },
      { paddr: 0x1200000, vaddr: 0, data: patternBytes(0x1000, 2), memsz: 0x3000, align: 0x200000 },
    ],
    ...(trailing ? { trailing } : {}),
  })

const word = (address: bigint): number => Number(BigInt.asIntN(32, address))
const table = (relocs: Partial<Relocs>): Relocs => ({ add32: none, subtract32: none, add64: none, ...relocs })
const u32 = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)
const u64 = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true)

async function moved(relocs: Relocs, distance: bigint) {
  const file = elf64()
  const before = file.slice()
  const { elf } = await readKernel(file)
  if (!elf) throw new Error('no ELF')
  const images = relocate(elf, relocs, distance)
  t.same(file, before, 'the file is as it was')
  return images.map(({ bytes }) => bytes)
}

t.test('each list changes its words and nothing else', async (t) => {
  const relocs = table({
    add32: Int32Array.of(word(BASE + 0x1000010n), word(BASE + 0x1001ffcn)),
    subtract32: Int32Array.of(word(BASE + 0x1000020n)),
    add64: Int32Array.of(word(BASE + 0x1000030n), word(BASE + 0x1200008n)),
  })
  const distance = 0x6000000n
  const [first = none, second = none] = (await moved(relocs, distance)) as [Uint8Array, Uint8Array]
  const [was, wasSecond] = [patternBytes(0x2000), patternBytes(0x1000, 2)]
  const bytes = first as Uint8Array
  t.equal(u32(bytes, 0x10), (u32(was, 0x10) + 0x6000000) >>> 0)
  t.equal(u32(bytes, 0x1ffc), (u32(was, 0x1ffc) + 0x6000000) >>> 0)
  t.equal(u32(bytes, 0x20), (u32(was, 0x20) - 0x6000000) >>> 0)
  t.equal(u64(bytes, 0x30), BigInt.asUintN(64, u64(was, 0x30) + distance))
  t.equal(u64(second as Uint8Array, 8), BigInt.asUintN(64, u64(wasSecond, 8) + distance), 'by p_paddr, not p_vaddr')
  for (const [at, length] of [
    [0x10, 4],
    [0x1ffc, 4],
    [0x20, 4],
    [0x30, 8],
  ] as const) {
    was.set(bytes.subarray(at, at + length), at)
  }
  t.equal(Buffer.compare(bytes, was), 0)
})

t.test('there and back again is the same kernel', async (t) => {
  const relocs = (base: bigint) =>
    table({ add32: Int32Array.of(word(base + 0x1000010n)), add64: Int32Array.of(word(base + 0x1200000n)) })
  const { elf } = await readKernel(elf64())
  if (!elf) throw new Error('no ELF')
  const there = relocate(elf, relocs(BASE), 0x4000000n)
  const movedElf = buildElf({
    class: 64,
    entry: 0x1000000,
    segments: there.map(({ segment, bytes }) => ({
      paddr: segment.paddr,
      vaddr: segment.vaddr === 0n ? 0n : segment.vaddr + 0x4000000n,
      data: bytes,
      memsz: segment.memsz,
      align: 0x200000,
    })),
  })
  const back = await readKernel(movedElf)
  if (!back.elf) throw new Error('no ELF')
  const images = relocate(back.elf, relocs(BASE + 0x4000000n), -0x4000000n)
  t.equal(Buffer.compare(images[0]?.bytes ?? Buffer.alloc(0), patternBytes(0x2000)), 0)
  t.equal(Buffer.compare(images[1]?.bytes ?? Buffer.alloc(0), patternBytes(0x1000, 2)), 0)
})

t.test('a 32-bit kernel, across the end of its words', async (t) => {
  const base = 0xc0000000
  const file = buildElf({
    class: 32,
    entry: 0x1000000,
    segments: [{ paddr: 0x1000000, vaddr: base + 0x1000000, data: patternBytes(0x2000) }],
  })
  const { elf } = await readKernel(file)
  if (!elf) throw new Error('no ELF')
  const add32 = Int32Array.of((base + 0x1000010) | 0)
  const [image] = relocate(elf, table({ add32 }), -0x400000n)
  const was = patternBytes(0x2000)
  t.equal(u32(image?.bytes ?? was, 0x10), (u32(was, 0x10) - 0x400000) >>> 0)
  t.throws(() => relocate(elf, table({ add32 }), 0x3f000000n), { message: /distance is too large/ })
  t.equal(relocate(elf, table({ add32 }), 0n)[0]?.bytes.buffer, file.buffer, 'a distance of 0 changes nothing')
})

t.test('what is untouched is not copied', async (t) => {
  const file = elf64()
  const { elf } = await readKernel(file)
  if (!elf) throw new Error('no ELF')
  const images = relocate(elf, table({ add64: Int32Array.of(word(BASE + 0x1200000n)) }), 0x200000n)
  t.equal(images[0]?.bytes.buffer, elf.bytes.buffer)
  t.not(images[1]?.bytes.buffer, elf.bytes.buffer)
})

t.test('a table with an address outside the segments, and a distance that is too large, are refused', async (t) => {
  const { elf } = await readKernel(elf64())
  if (!elf) throw new Error('no ELF')
  const refuses = (relocs: Partial<Relocs>, distance: bigint, pattern: RegExp) => {
    try {
      relocate(elf, table(relocs), distance)
      t.fail(`not refused: ${pattern}`)
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      t.match(error.message, pattern)
    }
  }
  refuses(
    { add32: Int32Array.of(word(BASE + 0x1001ffdn)) },
    0x200000n,
    /has an address outside the segments.*found 0xffffffff81001ffd/,
  )
  refuses({ add64: Int32Array.of(word(BASE + 0x1201000n)) }, 0x200000n, /has an address outside the segments/)
  refuses({ add32: Int32Array.of(5) }, 0x200000n, /found 0x5$/)
  refuses({}, 0x7f000000n, /distance is too large: expected addresses from 0xffffffff80000000 to 0xffffffffffffffff/)
  refuses({}, -0x2000000n, /moved by -0x2000000/)
})

t.test('a guest gets the moved kernel; each distance for itself', async (t) => {
  const relocs = new Uint8Array(Int32Array.of(0, word(BASE + 0x1000030n), 0, 0, word(BASE + 0x1000010n)).buffer)
  const file = buildBzImage({ payload: elf64(relocs) })
  const kernel = await readKernel(file)
  const build = (config: object) =>
    buildDomain(kernel, { type: 'linux', memory: 128 * MiB, image: 'vmlinux', ...config })
  const domain = build({ loadAddress: 0x3000000, virtualOffset: 0x400000n })
  const was = patternBytes(0x2000)
  t.equal(domain.vcpus[0]?.registers.rip, 0x3000000n)
  t.equal(u32(domain.memory.read(0x3000010, 4), 0), (u32(was, 0x10) + 0x400000) >>> 0)
  t.equal(u64(domain.memory.read(0x3000030, 8), 0), BigInt.asUintN(64, u64(was, 0x30) + 0x400000n))
  t.same(build({ loadAddress: 0x3000000 }).memory.read(0x3000000, 0x2000), was, 'not moved virtually: as it was')
  t.throws(() => build({ virtualOffset: 0x1000n }), { code: 'does-not-fit' })
})
