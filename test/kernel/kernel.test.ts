/** readKernel detects each kind of file by its content alone. */
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { concat } from '../../lib/bytes.js'
import { readKernel as readKernelAsIs } from '../../lib/kernel/kernel.js'
import { decode } from '../../lib/kernel/payload.js'
import { splitPayload } from '../../lib/kernel/unwrap.js'
import { buildBzImage, buildElf, type ElfSpec, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { readKernel } from '../fixtures/sound.js'
import { storedLz4 } from '../fixtures/stored-lz4.js'
import { refuses } from './refusal.js'

const spec: ElfSpec = {
  class: 64,
  entry: 0x1000000,
  segments: [{ paddr: 0x1000000, data: patternBytes(5000) }],
  notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic' }),
}
const elf = buildElf(spec)
const relocs = patternBytes(100, 9)
const withRelocs = buildElf({ ...spec, trailing: relocs })
/** Large enough that decompressing it is several parts of work. */
const patternElf = buildElf({ ...spec, trailing: patternBytes(2 ** 23) })
const gzip = (bytes: Uint8Array) => new Uint8Array(gzipSync(bytes))

t.test('an ELF', async (t) => {
  const kernel = await readKernel(elf)
  t.match(kernel, { container: 'elf', codec: undefined, linux: undefined })
  t.equal(kernel.sha256, createHash('sha256').update(elf).digest('hex'))
  t.equal(kernel.elf?.bytes, elf, 'looked into, not copied')
  t.same(
    kernel.notes.map(({ name }) => name),
    ['XEN_VERSION', 'LOADER'],
  )
})

t.test('a compressed ELF', async (t) => {
  const file = gzip(elf)
  const kernel = await readKernel(file)
  t.match(kernel, { container: 'gzip', codec: 'gzip', xen: { loader: 'generic' } })
  t.equal(kernel.sha256, createHash('sha256').update(file).digest('hex'), 'of the file as it was given')
  t.same(Buffer.from(kernel.elf?.bytes ?? []), Buffer.from(elf))
  const members = Buffer.concat([gzipSync(elf.subarray(0, 3000)), gzipSync(elf.subarray(3000))])
  t.same(Buffer.from((await readKernel(members)).elf?.bytes ?? []), Buffer.from(elf), 'every member of it')
})

t.test('a bzImage', async (t) => {
  const file = buildBzImage({ payload: gzip(withRelocs), version: '6.1.0 test' })
  const kernel = await readKernel(file)
  t.match(kernel, {
    container: 'bzImage',
    codec: 'gzip',
    xen: { loader: 'generic' },
    linux: { protocol: 0x20f, version: '6.1.0 test' },
  })
  t.equal(kernel.linux?.bytes, file)
  const split = kernel.elf && splitPayload(kernel.elf)
  t.same(Buffer.from(split?.elf ?? []), Buffer.from(elf), 'the ELF')
  t.same(Buffer.from(split?.relocs ?? []), Buffer.from(relocs), 'and the relocation table after it')
  t.match(
    await readKernel(gzip(file)),
    { container: 'gzip', codec: 'gzip', linux: { protocol: 0x20f } },
    'compressed once more',
  )

  const lz4 = storedLz4(withRelocs)
  const sized = await readKernel(buildBzImage({ payload: lz4, sizeTrailer: withRelocs.length }))
  t.match(sized, { container: 'bzImage', codec: 'lz4', xen: { loader: 'generic' } }, 'with the size after its stream')
  t.same(Buffer.from(sized.elf?.bytes ?? []), Buffer.from(withRelocs))
  await refuses(
    t,
    () => readKernel(buildBzImage({ payload: lz4, sizeTrailer: withRelocs.length + 1 })),
    'payload-size',
    `found ${withRelocs.length}`,
  )

  const plain = await readKernel(buildBzImage({ payload: elf }))
  t.match(plain, { container: 'bzImage', codec: undefined, xen: { loader: 'generic' } }, 'with its ELF as it is')
  t.same(plain.elf && splitPayload(plain.elf).relocs, undefined)

  const none = await readKernel(buildBzImage({ payload: patternBytes(100), header: { payload_length: 0 } }))
  t.match(none, { container: 'bzImage', elf: undefined, notes: [], xen: undefined }, 'without any ELF')
  const old = await readKernel(buildBzImage({ payload: gzip(elf), protocol: 0x207 }))
  t.match(old, { elf: undefined }, 'of a protocol that cannot name its payload')
})

t.test('a bzImage that is an ELF after its setup code, offsets counted from there', async (t) => {
  const image = { payload: elf, payloadOffset: 0, header: { payload_length: 0, payload_offset: 0 } }
  const kernel = await readKernel(buildBzImage(image))
  t.match(kernel, { container: 'bzImage', codec: undefined, xen: { loader: 'generic' } })
  t.same(Buffer.from(kernel.elf?.bytes ?? []), Buffer.from(elf))
  await refuses(
    t,
    () => readKernel(buildBzImage({ ...image, payload: elf.subarray(0, 100) })),
    'truncated',
    /^in the ELF after the setup code: .*\(offset there 0x20\)/,
  )
})

t.test('refusals', async (t) => {
  const bz = (payload: Uint8Array, more: Partial<Parameters<typeof buildBzImage>[0]> = {}) =>
    readKernel(buildBzImage({ payload, ...more }))
  await refuses(
    t,
    () => bz(patternBytes(100)),
    'payload-unknown',
    /expected ELF, gzip, .*found bytes .. .. .. .. .. .. \(file offset 0x840\)/,
  )
  await refuses(t, () => bz(gzip(elf).subarray(0, 200)), 'payload-damaged', 'gzip')
  await refuses(
    t,
    () => bz(gzip(patternBytes(100))),
    'not-a-kernel',
    'in the gzip payload: the file does not begin with the ELF magic',
  )
  await refuses(t, () => bz(gzip(gzip(elf))), 'not-a-kernel', 'in the gzip payload')
  await refuses(
    t,
    () => bz(gzip(elf.subarray(0, 4000))),
    'truncated',
    /^in the gzip payload: a segment reaches past the end.*\(offset there 0x/,
  )
  await refuses(t, () => bz(Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)), 'truncated', 'the xz payload is too short')
  await refuses(
    t,
    () => readKernel(gzip(gzip(elf))),
    'not-a-kernel',
    'the gzip file is not a kernel: expected an ELF or a Linux bzImage, found another gzip stream',
  )
  await refuses(
    t,
    () => readKernel(concat([storedLz4(elf), Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0)])),
    'payload-damaged',
    'lz4',
  )
  // bzip2 of nothing, from its own program.
  const nothing = Buffer.from('425a683917724538509000000000', 'hex')
  await refuses(
    t,
    () => readKernel(concat([nothing, Uint8Array.of(0, 1, 2)])),
    'payload-damaged',
    'bzip2: the file has data after the compressed stream: expected the end of the file, found 3 more bytes (file offset 0xe)',
  )
  await refuses(
    t,
    () => decode('xz', Uint8Array.of(1, 2, 3), { limit: 100 }),
    'payload-unknown',
    'xz: the payload has the wrong magic: expected 0xfd 0x37 0x7a 0x58 0x5a 0x00, found 0x01 0x02 0x03',
  )
  await refuses(t, () => decode('xz', new Uint8Array(0), { limit: 100 }), 'payload-unknown', 'found nothing')
  await refuses(
    t,
    () => decode('lz4', storedLz4(elf), { limit: 100, size: 101 }),
    'payload-too-large',
    'lz4: the promised size of the payload is too large: expected at most 100 bytes, found 101',
  )
  await refuses(t, () => readKernel(gzip(new Uint8Array(0))), 'not-a-kernel', 'found nothing: it is empty')
  await refuses(t, () => readKernel(gzip(elf.subarray(0, 100))), 'truncated', 'in the gzip file: ')
  await refuses(t, () => readKernel(elf, { maxBytes: 0 }), 'bad-config', 'maxBytes')
  await refuses(
    t,
    () => readKernel(gzip(elf), { maxBytes: elf.length - 1 }),
    'payload-too-large',
    `at most ${elf.length - 1} bytes`,
  )
  await refuses(
    t,
    () => readKernelAsIs(buildBzImage({ payload: gzip(elf) }), { maxBytes: elf.length - 1 }),
    'payload-too-large',
    `at most ${elf.length - 1} bytes`,
  )
  await refuses(t, () => bz(gzip(elf), { header: { loadflags: 0 } }), 'not-a-kernel', 'zImage')
  const bad = buildElf({ ...spec, notes: [{ type: 'ENTRY', desc: new Uint8Array(3) }] })
  await refuses(t, () => readKernel(bad), 'bad-note', /^note ENTRY is not a number/)
  await refuses(t, () => bz(gzip(bad)), 'bad-note', /^in the ELF: note ENTRY is not a number.*\(offset there/)

  for (const [bytes, text] of [
    [new Uint8Array(0), 'found nothing: it is empty'],
    [Buffer.from('hello\n'), 'a text file'],
    [Buffer.from('#!/bin/sh\n'), 'a script'],
    [Buffer.from('070701000000'), 'a Linux initramfs (cpio)'],
    [new Uint8Array(100), 'zeros'],
    [Uint8Array.of(1, 2, 3, 4, 5), 'data that begins with 01 02 03 04'],
    [Buffer.from('Yen saved domain, xl format'), 'a saved Xen domain (xl) whose first bytes are damaged'],
    [Buffer.from('MZ\0\0'), 'an EFI or Windows program'],
  ] as const)
    await refuses(t, () => readKernel(bytes), 'not-a-kernel', text)
  await refuses(
    t,
    () => readKernel('vmlinuz' as unknown as Uint8Array),
    'bad-config',
    /expected a Uint8Array, found string/,
  )
})

t.test('a thousand sections are read in slices, and progress is reported by step', async (t) => {
  const sections = Array.from({ length: 1100 }, (_, i) => ({ name: `.s${i}`, data: Uint8Array.of(i & 0xff) }))
  const kernel = await readKernel(buildElf({ ...spec, sections }))
  t.equal(kernel.elf?.sections.at(1099)?.name, '.s1099')
  const steps: string[] = []
  await readKernelAsIs(gzip(patternElf), {
    onProgress: ({ step, done, total }) => steps.push(`${step} ${done <= total}`),
  })
  t.ok(steps.includes('decompress true'))
  t.notOk(steps.some((step) => step.endsWith('false')))
})

t.test('a signal stops it', async (t) => {
  const controller = new AbortController()
  const reading = readKernel(gzip(elf), { signal: controller.signal })
  controller.abort(new Error('enough'))
  await t.rejects(reading, { message: 'enough' })
  await t.rejects(readKernel(elf, { signal: AbortSignal.abort() }), { name: 'AbortError' })
})
