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

interface Described {
  name: string
  instance_id: number
  fields: { name: string; type: string; size?: number; array_len?: number; struct?: unknown }[]
  subsections?: unknown[]
}

/** The stream with a changed description at its end. */
function described(stream: Uint8Array, change: (devices: Described[]) => unknown): Uint8Array {
  const bytes = Buffer.from(stream)
  const start = bytes.lastIndexOf('{"page_size"')
  const json = JSON.parse(bytes.toString('utf8', start))
  const changed = Buffer.from(JSON.stringify({ ...json, devices: change(json.devices) ?? json.devices }))
  bytes.writeUInt32BE(changed.length, start - 4)
  return new Uint8Array(Buffer.concat([bytes.subarray(0, start), changed]))
}

/** The stream with other bytes at the end of a text, or `after` bytes later. */
function patched(stream: Uint8Array, text: string, bytes: readonly number[], after = 0): Uint8Array {
  const out = Buffer.from(stream)
  const at = out.indexOf(text, 0, 'latin1')
  if (at < 0) throw new Error(`no ${text}`)
  out.set(bytes, at + text.length + after)
  return new Uint8Array(out)
}

t.test('a damaged stream is refused with the place', async (t) => {
  const saved = asSavedByQemu(bytesOf(writeQemuStream(await pvh())))
  const text = Buffer.from(saved)
  const ramAt = text.indexOf('\x03ram', 0, 'latin1')
  const bad = (bytes: Uint8Array, message: RegExp, code = 'bad-snapshot') =>
    t.rejects(open(bytes), { name: 'DomainBuilderError', code, message }, `${message}`)
  await bad(
    patched(saved, '\x07microvm', [0x99]),
    /^QEMU's stream: a section has an unknown type: found 0x99 \(file offset 0x14\)$/,
  )
  await bad(
    new Uint8Array(Buffer.concat([text.subarray(0, 20), Buffer.from('\x05\x06x-caps', 'latin1'), text.subarray(20)])),
    /a configuration 'x-caps', which is not supported: expected a stream with the default capabilities/,
    'unknown-format',
  )
  await bad(
    patched(saved, '\x03ram', [0, 0, 0, 0, 0, 0, 0, 5]),
    /the version of the memory is unknown: expected 4, found 5/,
  )
  await bad(
    new Uint8Array(
      Buffer.concat([text.subarray(0, ramAt), Buffer.from('\x03rom', 'latin1'), text.subarray(ramAt + 4)]),
    ),
    /a section 'rom' in parts, which is not supported: expected a stream of memory alone/,
    'unknown-format',
  )
  await bad(
    patched(saved, '\x0bmicrovm.ram', [0, 0, 0, 0, 0, 0x40, 0, 1]),
    /the block 'microvm.ram' has an invalid size: found 0x400001/,
  )
  await bad(insertPages(saved, page(0, 1 << 11)), /a page has unknown flags: found 0x800/)
  const nowhere = Buffer.from(page(0, 8, pattern(PAGE_SIZE)))
  nowhere.write('x', 9)
  await bad(insertPages(saved, nowhere), /a page lies in an unknown block 'xicrovm.ram'/)
  // After the sizes of the blocks follow the end of pages and the footer of the section.
  const end = text.indexOf(Buffer.from(`${'0'.repeat(14)}107e00000002`, 'hex')) + 8
  const footer = (...bytes: number[]) => {
    const out = Buffer.from(saved)
    out.set(bytes, end)
    return new Uint8Array(out)
  }
  await bad(footer(0x7d), /the end of a section is missing: expected 0x7e, found 0x7d/)
  await bad(footer(0x7e, 0, 0, 0, 3), /the end of a section has another number: expected 2, found 3/)
  await bad(
    described(saved, (devices) => devices.filter(({ name }) => name !== 'cpu')),
    /the description lacks a device: expected cpu, instance 0/,
  )
  await bad(
    described(saved, (devices) => {
      devices[0]?.fields.push({ name: 'more', type: 'buffer', size: MiB })
    }),
    /^QEMU's stream: the file ends too early: expected \d+ bytes, found \d+/,
    'truncated',
  )
})

t.test('RAM under another name, and a machine of another name', async (t) => {
  const saved = asSavedByQemu(bytesOf(writeQemuStream(await pvh())))
  const renamed = (from: string, to: string) =>
    new Uint8Array(Buffer.from(Buffer.from(saved).toString('latin1').replaceAll(from, to), 'latin1'))
  await t.rejects(open(renamed('microvm.ram', 'other00.ram')), {
    code: 'bad-snapshot',
    message: /^QEMU's stream: the RAM is not one block: expected microvm\.ram or pc\.ram.*, found other00\.ram/,
  })
  t.match(await open(renamed('\x07microvm', '\x07another')), { memory: { pageCount: 1024 } })
})

t.test('the description of a device is bounded, and has the fields of a processor', async (t) => {
  const saved = asSavedByQemu(bytesOf(writeQemuStream(await pvh())))
  const cpuOf = (devices: Described[]) => devices.find(({ name }) => name === 'cpu') as Described
  const bad = (change: (devices: Described[]) => unknown, message: RegExp) =>
    t.rejects(
      open(described(saved, change)),
      { name: 'DomainBuilderError', code: 'bad-snapshot', message },
      `${message}`,
    )
  const nested = (depth: number): object => (depth === 0 ? { fields: [] } : { subsections: [nested(depth - 1)] })
  await bad((devices) => {
    cpuOf(devices).subsections = [nested(40)]
  }, /expected at most \d+ structs in one another/)
  await bad((devices) => {
    ;(cpuOf(devices).fields[0] as { name: string }).name = 'x'.repeat(1000)
  }, /expected at most \d+ characters/)
  await bad((devices) => {
    ;(cpuOf(devices).fields[1] as { name: string }).name = 'env.rip'
  }, /^section cpu: a field is missing from its description: expected env\.eip \(file offset 0x/)
  await bad(
    (devices) => [...devices, { name: 'x'.repeat(65 * MiB), instance_id: 0 }],
    /the description is too long: expected at most \d+, found \d+/,
  )
  // A device without fields, subsections or a name has no bytes.
  t.ok(await open(described(saved, (devices) => [...devices, { name: 'empty', instance_id: 0 }])))
})

t.test('a guest that no machine can start is refused with the reason', async (t) => {
  const linux = await readKernel(buildBzImage({ payload: pattern(5000), header: { payload_length: 0, init_size: 0 } }))
  const real = buildDomain(linux, { type: 'linux', entry: 16, memory: 20 * MiB })
  t.throws(() => writeQemuStream(real), { code: 'does-not-fit', message: /begins in real mode and calls a BIOS/ })
  const large = await pvh({ memory: 4096 * MiB })
  t.throws(() => writeQemuStream(large, { machine: 'q35' }), { message: /machine q35 has no RAM/ })
  const huge = await pvh({ memory: 2 ** 41 })
  t.throws(() => writeQemuStream(huge), { code: 'does-not-fit', message: /more memory than the machine can address/ })
  const [first] = large.vcpus
  const crowd = { ...large, vcpus: Array.from({ length: 256 }, (_, id) => ({ ...first, id })) } as Domain
  t.throws(() => writeQemuStream(crowd), {
    code: 'does-not-fit',
    message: 'the guest has too many vcpus for the machine: expected at most 255, found 256',
  })
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
  t.equal(qemuStreamArguments(guest, 'a.stream', 'pc').at(-1), 'exec:cat a.stream')
  t.equal(qemuStreamArguments(guest, 7, 'pc').at(-1), 'fd:7')
})
