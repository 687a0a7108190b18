/**
 * Memory without a description: images and LiME dumps, in which the page tables of a Linux are found.
 *
 * Source: lib/snapshot/memory-image.ts; test/qemu/kdump.qemu.ts finds those of a real guest.
 * Gotcha: a file that only resembles such an image stays what it is: unknown.
 */
import t, { type Test } from 'tap'
import { requirePv } from '../../lib/guest/domain.js'
import { findLinux } from '../../lib/guest/linux-discover.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openMemory,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  readStartInfo,
  readVirtual,
  sniffSnapshot,
  translate,
  writeElfCore,
} from '../../lib/index.js'
import { paddrOf } from '../../lib/units.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { LINUX_IMAGE, limeDump, linuxImage, PC_RANGES } from '../fixtures/linux-image.js'
import { bytesOf, FORMATS, sameGuest, THROUGH } from '../fixtures/snapshots.js'

const open = (bytes: Uint8Array): Promise<Domain> => openSnapshot(bytesSource(bytes))
const { banner, cr3, paddr, text, vaddr } = LINUX_IMAGE
const bannerAt = vaddr + BigInt(banner - paddr)

function isFound(t: Test, guest: Domain): void {
  t.match(guest, { type: 'hvm', abi: 'x86_64', vcpus: [{ cr3: BigInt(cr3), online: true }] })
  t.equal(guest.vcpus.length, 1)
  t.equal(Buffer.from(readVirtual(guest, bannerAt, text.length)).toString(), text)
  t.equal(translate(guest, vaddr)?.paddr, paddr)
  t.same(findLinux(guest.memory), { cr3, banner: bannerAt })
}

t.test('an image', async (t) => {
  const bytes = linuxImage()
  t.equal(await sniffSnapshot(bytesSource(bytes)), 'raw')
  const guest = await open(bytes)
  isFound(t, guest)
  t.same(guest.memory.ranges, [{ start: 0, end: bytes.length / PAGE_SIZE }])
  t.ok(Buffer.from(guest.memory.read(0, bytes.length)).equals(bytes))
})

t.test('a LiME dump', async (t) => {
  const memory = linuxImage()
  const dump = limeDump(memory, PC_RANGES)
  t.equal(await sniffSnapshot(bytesSource(dump)), 'raw')
  const guest = await open(dump)
  isFound(t, guest)
  t.same(guest.memory.ranges, [
    { start: 1, end: 0xa0 },
    { start: 0x100, end: memory.length / PAGE_SIZE },
  ])
  t.equal(Buffer.from(guest.memory.read(3 * PAGE_SIZE, 6)).toString(), 'page 3')
  const odd = await open(limeDump(memory, [[0x3002, 0x3005]]))
  t.same([...odd.memory.read(0x3000, 6)], [...Buffer.from('\0\0ge \0')])
  t.match(odd, { abi: 'x86_32', vcpus: [{ cr0: 0n, cr3: 0n }] }, 'without a Linux, there is no paging')
})

t.test('a PV guest that has not run, by its start_info', async (t) => {
  const memory = 16 * 2 ** 20
  const pages = memory / PAGE_SIZE
  const backwards = { function: (pfn: number) => 0x100000 + pages - pfn, name: 'backwards' }
  for (const [what, file] of [
    ['64-bit', pvKernelFile()],
    ['64-bit with INIT_P2M', pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } })],
    ['PAE', pvKernelFile({ class: 32 })],
  ] as const) {
    const kernel = await readKernel(file)
    const isPae = what === 'PAE'
    for (const p2m of ['identity', { offset: 0x12345 }, ...(isPae ? [] : [backwards])] as const) {
      const built = buildDomain(kernel, { type: 'pv', memory, cmdline: 'found', p2m })
      const image = built.memory.read(0, memory)
      t.equal(await sniffSnapshot(bytesSource(image)), 'raw')
      const found = await open(image)
      t.match(found, { type: 'pv', abi: built.abi, boot: { startInfo: { pfn: requirePv(built).startInfo.pfn } } }, what)
      t.match(found.vcpus[0], { cr3: built.vcpus[0]?.cr3, registers: { rsi: built.vcpus[0]?.registers.rsi } })
      t.equal(readStartInfo(found).cmd_line, 'found')
      for (const pfn of [0, 1, pages - 1]) t.equal(found.p2m.mfn(pfn), built.p2m.mfn(pfn))
      const rip = built.vcpus[0]?.registers.rip ?? 0n
      t.equal(translate(found, rip)?.paddr, translate(built, rip)?.paddr)
      image.fill(0, paddrOf(requirePv(built).startInfo.pfn + 3), paddrOf(requirePv(built).startInfo.pfn + 4))
      t.equal(await sniffSnapshot(bytesSource(image)), undefined, 'without its top table it is any file')
    }
  }
})

t.test('memory whose state is known', async (t) => {
  const bytes = linuxImage()
  const rip = vaddr + 16n
  for (const source of [bytesSource(bytes), bytesSource(limeDump(bytes, PC_RANGES))]) {
    const guest = openMemory(source, { cr3: BigInt(cr3), registers: { rip } })
    isFound(t, guest)
    t.equal(guest.vcpus[0]?.registers.rip, rip)
  }
  t.match(openMemory(bytesSource(bytes), { abi: 'x86_32' }), { abi: 'x86_32', vcpus: [{ cr0: 0n, cr3: 0n }] })
  t.match(openMemory(bytesSource(new Uint8Array(PAGE_SIZE)), {}), { abi: 'x86_64', memory: { pageCount: 1 } })
  // @ts-expect-error No such ABI.
  t.throws(() => openMemory(bytesSource(bytes), { abi: 'arm' }), { code: 'bad-config', message: /abi is invalid/ })
  // @ts-expect-error A 64-bit value is a bigint.
  t.throws(() => openMemory(bytesSource(bytes), { cr3: 5 }), { code: 'bad-config', message: /cr3 is invalid/ })
  // @ts-expect-error No such register.
  t.throws(() => openMemory(bytesSource(bytes), { registers: { r99: 1n } }), { message: /register 'r99' is invalid/ })
  // @ts-expect-error cr3 has a separate place, and is not dropped in silence.
  t.throws(() => openMemory(bytesSource(bytes), { registers: { cr3: 1n } }), { message: /register 'cr3' is invalid/ })
  t.throws(() => openMemory(bytesSource(new Uint8Array(5)), {}), { code: 'bad-snapshot' })
})

t.test('such a guest goes through every format that takes it', async (t) => {
  const guest = await open(limeDump(linuxImage(), PC_RANGES))
  for (const format of FORMATS) {
    if (['raw', 'xen-core', 'elf-core', 'kdump'].includes(format)) sameGuest(t, THROUGH[format](guest), guest, format)
    else t.throws(() => THROUGH[format](guest), { code: /^(does-not-fit|bad-config)$/ }, format)
  }
  t.ok(bytesOf(writeElfCore(guest)).length > 0)
})

t.test('a large page that the kernel split is still a part of its image', async (t) => {
  const l2 = cr3 + 2 * PAGE_SIZE
  const split = await open(linuxImage((memory) => void memory.writeBigUInt64LE(0x100063n, l2 + 8 * 6)))
  t.same(findLinux(split.memory), { cr3, banner: bannerAt })
  const tail = await open(linuxImage((memory) => void memory.writeBigUInt64LE(0x100063n, l2 + 8 * 4)))
  t.same(findLinux(tail.memory), { cr3, banner: bannerAt }, 'a table before it is not a part')
})

t.test('a few images without a banner come before the kernel', async (t) => {
  /** Tables at 2.5 MiB that map the large page in which they are. */
  const images = (count: number) => (memory: Buffer) => {
    const [first, l3, l2] = [0x280000, 0x2a0000, 0x2b0000]
    for (let i = 0; i < count; i++) memory.writeBigUInt64LE(BigInt(l3 | 0x67), first + i * PAGE_SIZE + 8 * 511)
    memory.writeBigUInt64LE(BigInt(l2 | 0x63), l3 + 8 * 510)
    memory.writeBigUInt64LE(BigInt(0x200000 | 0x1e3), l2)
  }
  isFound(t, await open(linuxImage(images(7))))
  await t.rejects(open(linuxImage(images(8))), { code: 'unknown-format' })
})

t.test('a file that is no image of a Linux', async (t) => {
  const { processCr3 } = LINUX_IMAGE
  const changes: Readonly<Record<string, (memory: Buffer) => unknown>> = {
    'no banner': (memory) => memory.fill(0, banner, banner + 8),
    'no top table': (memory) => memory.fill(0, cr3, cr3 + PAGE_SIZE),
    'tables outside the image': (memory) => {
      memory.copy(memory, processCr3, cr3, cr3 + PAGE_SIZE)
      memory.fill(0, cr3, cr3 + PAGE_SIZE)
    },
    'a lower half': (memory) => memory.writeUInt32LE(0x67, cr3),
    'large pages out of order': (memory) => memory.writeBigUInt64LE(0x1e3n, cr3 + 2 * PAGE_SIZE + 8 * 6),
    'a table beyond the memory': (memory) => memory.writeBigUInt64LE(0x7fffff063n, cr3 + PAGE_SIZE + 8 * 510),
  }
  for (const [name, change] of Object.entries(changes)) {
    await t.rejects(open(linuxImage((memory) => void change(memory))), { code: 'unknown-format' }, name)
  }
  await t.rejects(open(linuxImage().subarray(1)), { code: 'unknown-format' }, 'no whole pages')
})

t.test('a damaged LiME dump', async (t) => {
  const memory = linuxImage()
  const dump = limeDump(memory, PC_RANGES)
  const rejects = (bytes: Uint8Array, code: string, message: RegExp) =>
    t.rejects(open(bytes), { code, message, offset: Number })
  const changed = (at: number, bytes: readonly number[]): Uint8Array => {
    const copy = dump.slice()
    copy.set(bytes, at)
    return copy
  }
  const second = 32 + 0x9fc00 - 0x1000
  const bytes = Array.from({ length: 2 ** 16 + 1 }, (_, i) => [2 * i, 2 * i + 1] as const)
  await rejects(
    limeDump(new Uint8Array(2 ** 18), bytes),
    'bad-snapshot',
    /^LiME.*: the ranges are too many: expected 65536/,
  )
  await rejects(dump.subarray(0, -1), 'truncated', /the file ends in a range/)
  await rejects(dump.subarray(0, second + 4), 'truncated', /LiME header/)
  await rejects(changed(second, [0]), 'bad-snapshot', /the magic is missing: expected 0x4c694d45/)
  await rejects(changed(4, [2]), 'bad-snapshot', /the version is unknown: expected 1, found 2/)
  await rejects(limeDump(memory, [...PC_RANGES].reverse()), 'bad-snapshot', /not above the one before/)
  await rejects(changed(16, [0, 0]), 'bad-snapshot', /the magic is missing/)
  await rejects(changed(22, [0xff, 0xff]), 'bad-range', /the end of a range/)
})
