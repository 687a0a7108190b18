/**
 * QEMU's migration stream without QEMU: the pages that are read, and the streams and guests that are refused.
 *
 * Source: QEMU migration/ram.c and migration/savevm.c; test/qemu/stream.qemu.ts compares with QEMU itself.
 * Gotcha: QEMU sends a page again when the guest has changed it, so a later page counts.
 */
import t from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  type DomainConfig,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  sniffSnapshot,
  writeQemuStream,
} from '../../lib/index.js'
import { QEMU_MACHINE_NAMES, qemuStreamArguments } from '../../lib/snapshot/qemu-machine.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { pattern, pvhKernelFile } from '../fixtures/kernels.js'
import { asSavedByQemu, bytesOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20

const pvh = async (config: Partial<DomainConfig> = {}): Promise<Domain> =>
  buildDomain(await readKernel(pvhKernelFile({ paddr: 0x100000 })), {
    type: 'pvh',
    memory: 4 * MiB,
    vcpus: 2,
    purpose: 'vmm',
    ...config,
  } as DomainConfig)

const open = (bytes: Uint8Array): Promise<Domain> => openSnapshot(bytesSource(bytes))

/** Inserts bytes before the end of the pages, in the section that has them. */
function insertPages(stream: Uint8Array, more: Uint8Array): Uint8Array {
  const bytes = Buffer.from(stream)
  const end = bytes.indexOf(Buffer.from(`${'0'.repeat(14)}107e00000002${'03'}00000002`, 'hex'))
  return new Uint8Array(Buffer.concat([bytes.subarray(0, end), more, bytes.subarray(end)]))
}

/** A page of the block microvm.ram, or its flags alone. */
function page(paddr: number, flags: number, content: Uint8Array = new Uint8Array(0)): Uint8Array {
  const header = Buffer.alloc(8)
  header.writeBigUInt64BE(BigInt(paddr + flags))
  return new Uint8Array(Buffer.concat([header, Buffer.from('\x0bmicrovm.ram', 'latin1'), content]))
}

t.test('a stream that QEMU saved becomes a guest of its RAM and its vcpus', async (t) => {
  for (const machine of QEMU_MACHINE_NAMES) {
    const guest = await pvh()
    const saved = asSavedByQemu(bytesOf(writeQemuStream(guest, { machine })))
    t.equal(await sniffSnapshot(bytesSource(saved)), 'qemu-stream')
    const read = await open(saved)
    t.same([read.type, read.abi, read.boot.kind], ['hvm', 'x86_32', 'firmware'])
    t.same(read.memory.ranges, [{ start: 0, end: (4 * MiB) / PAGE_SIZE }], 'all RAM, also below 1 MiB')
    const [first, second] = [read.vcpus[0], guest.vcpus[0]]
    t.same(first?.registers, second?.registers)
    t.same(first?.segments, second?.segments)
    t.same([first?.cr0, first?.cr3, first?.cr4, first?.efer], [second?.cr0, second?.cr3, second?.cr4, second?.efer])
    t.same(read.vcpus[1], guest.vcpus[1], 'the other waits')
    for (const { pfn, pages } of guest.memory.pages()) {
      const [paddr, length] = [pfn * PAGE_SIZE, pages * PAGE_SIZE]
      t.same(read.memory.read(paddr, length), guest.memory.read(paddr, length))
    }
    t.throws(() => writeQemuStream(read), { code: 'does-not-fit', message: /the guest needs the state of its devices/ })
  }
})

t.test('a page that is sent again has its last content, or none', async (t) => {
  const saved = asSavedByQemu(bytesOf(writeQemuStream(await pvh())))
  const content = pattern(PAGE_SIZE)
  const again = await open(insertPages(saved, page(0x3000, 8, content)))
  t.same(again.memory.read(0x3000, PAGE_SIZE), content)
  const empty = await open(
    insertPages(saved, new Uint8Array([...page(0x3000, 8, content), ...page(0x3000, 2, new Uint8Array(1))])),
  )
  t.same(empty.memory.read(0x3000, PAGE_SIZE), new Uint8Array(PAGE_SIZE))
})

t.test('pages that came compressed or another way are refused by name', async (t) => {
  const saved = bytesOf(writeQemuStream(await pvh()))
  const refused: readonly (readonly [Uint8Array, RegExp])[] = [
    [page(0, 0x40), /pages of XBZRLE, which is not supported: expected a stream without xbzrle/],
    [page(0, 0x100), /compressed pages, which is not supported/],
    [page(0, 0x200), /pages of other channels, .* without multifd/],
    [page(0, 2, Uint8Array.of(7)), /pages of one byte repeated/],
    [page(4 * MiB, 8, new Uint8Array(PAGE_SIZE)), /a page lies outside its block: expected below 0x400000/],
  ]
  for (const [pages, message] of refused) await t.rejects(open(insertPages(saved, pages)), { message })
  const cut = saved.subarray(0, Buffer.from(saved).lastIndexOf('{"page_size"') - 5)
  await t.rejects(open(cut), { code: 'unknown-format', message: /no description of its devices at its end/ })
  const command = new Uint8Array([...saved.subarray(0, 8), 8, 0, 4, 0, 0, ...saved.subarray(8)])
  await t.rejects(open(command), { message: /command 4 of postcopy or COLO/ })
})

t.test('a guest that no machine can start is refused with the reason', async (t) => {
  const linux = await readKernel(buildBzImage({ payload: pattern(5000), header: { payload_length: 0, init_size: 0 } }))
  const real = buildDomain(linux, { type: 'linux', entry: 16, memory: 20 * MiB })
  t.throws(() => writeQemuStream(real), { code: 'does-not-fit', message: /begins in real mode and calls a BIOS/ })
  const large = await pvh({ memory: 4096 * MiB })
  t.throws(() => writeQemuStream(large, { machine: 'q35' }), { message: /machine q35 has no RAM/ })
  const huge = await pvh({ memory: 2 ** 41 })
  t.throws(() => writeQemuStream(huge), { code: 'does-not-fit', message: /more memory than the machine can address/ })
  t.throws(() => writeQemuStream(large, { machine: 'isapc' as 'pc' }), {
    code: 'bad-config',
    message: /microvm, pc, q35/,
  })
})

t.test('the command line has the memory and the machine, and quotes the name for a shell', async (t) => {
  const guest = await pvh({ memory: 4096 * MiB })
  const words = qemuStreamArguments(guest, "it's", 'pc')
  t.equal(words[words.indexOf('-m') + 1], `${4096 * 1024}K`)
  t.equal(words[words.indexOf('-machine') + 1], 'pc-i440fx-7.2,max-ram-below-4g=3221225472')
  t.equal(words.at(-1), "exec:cat 'it'\\''s'")
})
