/** Tests of the setup header of every protocol version, and of the place of the kernel proper. */
import t from 'tap'
import { SETUP_FIELD_SINCE, SetupHeader, setupHeaderSize } from '../../lib/abi/boot-params.js'
import { hasSetupHeader, parseBzImage as parse, showProtocol } from '../../lib/kernel/bzimage.js'
import { type BzImageSpec, buildBzImage, patternBytes } from '../../lib/testing/index.js'
import { parseBzImage } from '../fixtures/sound.js'
import { refuses } from './refusal.js'

const payload = patternBytes(1000)
const build = (changes: Partial<BzImageSpec> = {}) => buildBzImage({ payload, ...changes })

/** A header with every byte set, so that a field read in too old a version shows. */
const full = SetupHeader.decode(new Uint8Array(SetupHeader.size).fill(0x5a))
const { header: _magic, version: _version, boot_flag: _flag, jump: _jump, setup_sects: _sects, ...rest } = full

t.test('fields of each protocol version, and no others', async (t) => {
  for (let protocol = 0x200; protocol <= 0x20f; protocol++) {
    const bytes = build({ protocol, header: { ...rest, loadflags: 1, payload_offset: 0, payload_length: 0 } })
    // A builder may omit fields that a version does not have; bytes in their place must not be read.
    bytes.fill(0x5a, 0x1f1 + setupHeaderSize(protocol), 0x1f1 + SetupHeader.size)
    const image = parseBzImage(bytes)
    t.equal(image.protocol, protocol)
    const expected = SetupHeader.fieldNames.filter((field) => SETUP_FIELD_SINCE[field] <= protocol)
    t.same(Object.keys(image.header), expected, showProtocol(protocol))
    for (const [field, value] of Object.entries(rest) as [keyof typeof rest, number | bigint][]) {
      if (['loadflags', 'payload_offset', 'payload_length', 'syssize'].includes(field)) continue
      const present = expected.includes(field)
      if (image.header[field] !== (present ? value : undefined)) t.fail(`${showProtocol(protocol)} ${field}`)
    }
    t.equal(image.header.syssize, protocol < 0x204 ? 0x5a5a : 0x5a5a5a5a, 'syssize grew in 2.04')
    t.equal(image.payload, undefined)
  }
  t.equal(parseBzImage(build({ protocol: 0x2ff })).protocol, 0x2ff, "a version of tomorrow has all of today's fields")
  t.equal(showProtocol(0x20f), '2.15')
  t.equal(showProtocol(0x200), '2.00')
})

t.test('the payload', async (t) => {
  t.same(parseBzImage(build()).payload, { offset: 0x800 + 0x40, length: 1000 })
  t.same(parseBzImage(build({ setupSects: 0 })), parseBzImage(build({ setupSects: 0 })))
  t.equal(parseBzImage(build({ setupSects: 0 })).setupBytes, 5 * 512, 'setup_sects 0 means 4')
  t.same(parseBzImage(build({ protocol: 0x207 })).payload, undefined, 'not before 2.08')
  t.same(parseBzImage(build({ header: { payload_length: 0 } })).payload, undefined)
  for (const header of [
    { payload_length: 1001 },
    { payload_offset: 0x41 },
    { payload_offset: 0xffffffff },
    { payload_length: 0xffffffff },
    { payload_offset: 0xffffffff, payload_length: 0xffffffff },
  ]) {
    await refuses(
      t,
      () => parseBzImage(build({ header })),
      'truncated',
      /payload reaches past the end of the file: expected .* at most 0x428, found 0x/,
    )
  }
})

t.test('the version text', async (t) => {
  const version = '6.1.0-56-amd64 (a@b) #1 SMP'
  t.equal(parseBzImage(build({ version })).version, version)
  t.equal(parseBzImage(build()).version, undefined)
  for (const kernel_version of [0xffff, 0x5ff, 0x7ff]) {
    t.equal(
      parseBzImage(build({ version, header: { kernel_version } })).version,
      undefined,
      'a pointer to nowhere is no error',
    )
  }
})

t.test('refusals', async (t) => {
  await refuses(
    t,
    () => parseBzImage(build({ header: { version: 0x1ff } })),
    'bad-bzimage',
    'the version of the setup header is invalid: expected 2.00 or newer, found 0x1ff (file offset 0x206)',
  )
  await refuses(t, () => parseBzImage(build({ header: { loadflags: 0 } })), 'not-a-kernel', 'the file is a zImage')
  await refuses(
    t,
    () => parseBzImage(build({ header: { setup_sects: 255 } })),
    'truncated',
    'the file ends within the setup code',
  )
  const good = build()
  for (const length of [0, 0x1fe, 0x201, 0x205]) t.notOk(hasSetupHeader(good.subarray(0, length)), `${length} bytes`)
  t.ok(hasSetupHeader(good.subarray(0, 0x206)))
  for (const header of [{ boot_flag: 0 }, { header: 0 }]) t.notOk(hasSetupHeader(build({ header })))
  for (let length = 0x206; length <= 0x800; length++) {
    await refuses(
      t,
      () => parseBzImage(good.subarray(0, length)),
      'truncated',
      'ends within the setup code',
      `cut at ${length}`,
    )
  }
})

t.test('every fault has the offset of its field', async (t) => {
  t.match(parse(build({ header: { loadflags: 0xfe } })).fault, { code: 'not-a-kernel', found: '0xfe', offset: 0x211 })
  t.match(parse(build({ header: { payload_length: 1001 } })).fault, {
    code: 'truncated',
    expected: 'payload_offset + payload_length at most 0x428',
    found: '0x40 + 0x3e9',
    offset: 0x248,
  })
  const cut = parse(build().subarray(0, 0x800))
  t.match(cut.fault, { code: 'truncated', expected: 'more than 0x800 bytes', found: '0x800', offset: 0x1f1 })
  t.equal(parse(build({ header: { payload_length: 0 } }).subarray(0, 0x801)).fault, undefined, 'one byte of code')
  t.throws(() => parse(build({ header: { version: 0x1ff } })), { code: 'bad-bzimage', offset: 0x206 })
  t.throws(() => parse(build({ header: { version: 0x1ff } }).subarray(0, 0x700)), { code: 'truncated' })
  t.equal(parse(build({ header: { version: 0x200 } })).protocol, 0x200)
  t.equal(cut.payload, undefined, 'a damaged image has no payload')
  t.equal(parse(build()).fault, undefined)
})

t.test('the payload needs an offset and a length', async (t) => {
  const range = (header: BzImageSpec['header'] = {}) => parse(build({ header })).payload
  t.same(range({ payload_offset: 0 }), { offset: 0x800, length: 1000 })
  t.same(range({ payload_length: 1 }), { offset: 0x840, length: 1 })
  t.equal(range({ payload_length: 0 }), undefined)
  t.equal(parse(build({ header: { payload_length: 0, payload_offset: 0xffff } })).fault, undefined)
})

t.test('no code: syssize is 0 although bytes follow the setup code', async (t) => {
  const noCode = (syssize: number, bytes: number, protocol = 0x20f) => {
    const file = build({ protocol, header: { syssize, payload_length: 0 } })
    const whole = new Uint8Array(0x800 + bytes)
    whole.set(file.subarray(0, Math.min(file.length, whole.length)))
    return parse(whole).noCode
  }
  t.equal(noCode(0, 1), true)
  t.equal(noCode(0, 16), true)
  t.equal(noCode(1, 1), false)
  t.equal(noCode(0, 0), false, 'nothing follows')
  t.equal(noCode(0, 2 ** 20), true)
  t.equal(noCode(0, 2 ** 20, 0x203), false, 'a whole number of MiB in 16 bits')
  t.equal(noCode(0, 2 ** 20 - 15, 0x203), false, 'rounded up')
  t.equal(noCode(0, 2 ** 20 - 16, 0x203), true)
  t.equal(noCode(0, 2 ** 20 + 1, 0x203), true)
  t.equal(noCode(0x10000, 1, 0x203), true, 'the other half is not part of an old syssize')
  t.equal(noCode(0x10000, 1, 0x204), false)
  t.equal(parse(build().subarray(0, 0x700)).noCode, false, 'a file that ends in the setup code')
})

t.test('the version text: printable, with a NUL, within the setup code and 256 bytes', async (t) => {
  const text = (bytes: Uint8Array, at = 0x600, setupSects = 7) => {
    const file = build({ setupSects, header: { kernel_version: at - 0x200 } })
    file.set(bytes, at)
    return parse(file).version
  }
  const letters = (count: number) => Buffer.from(`${'v'.repeat(count)}\0`)
  t.equal(text(letters(3)), 'vvv')
  t.equal(text(letters(1)), 'v')
  t.equal(text(letters(255))?.length, 255)
  t.equal(text(letters(256)), undefined, 'too long')
  t.equal(text(letters(0)), undefined)
  t.equal(text(Buffer.from(' ~\0')), ' ~')
  t.equal(text(Buffer.from('a\x1f\0')), undefined)
  t.equal(text(Buffer.from('a\x7f\0')), undefined)
  t.equal(text(Buffer.from('ab\0'), 0x1000 - 3), 'ab', 'up to the end of the setup code')
  t.equal(text(Buffer.from('abc\0'), 0x1000 - 3), undefined, 'its NUL lies after it')
  const none = build({ version: 'x', header: { kernel_version: 0 } })
  none.set(Buffer.from('boot\0'), 0x200)
  t.equal(parse(none).version, undefined, 'pointer 0 means no text')
  const first = build({ header: { kernel_version: 1 } })
  first.fill(0x41, 0x201, 0x202).fill(0, 0x202, 0x203)
  t.equal(parse(first).version, 'A')
})

t.test('a file in the middle of a buffer', async (t) => {
  const file = build({ version: '6.1' })
  const larger = new Uint8Array(file.length + 9).fill(0xff)
  larger.set(file, 5)
  const part = larger.subarray(5, 5 + file.length)
  t.equal(hasSetupHeader(part), true)
  t.same(parse(part), parse(file))
})

t.test('a setup header ends after its magic at the earliest', async (t) => {
  const file = build()
  t.equal(hasSetupHeader(file.subarray(0, 0x206)), true)
  t.equal(hasSetupHeader(file.subarray(0, 0x205)), false)
  t.equal(hasSetupHeader(new Uint8Array(0)), false)
  t.equal(hasSetupHeader(build({ header: { boot_flag: 0 } })), false)
  t.equal(hasSetupHeader(build({ header: { header: 0 } })), false)
})

t.test('a version as people write it', async (t) => {
  t.same([0x200, 0x209, 0x20a, 0x20f, 0x210, 0x2ff, 0x301].map(showProtocol), [
    '2.00',
    '2.09',
    '2.10',
    '2.15',
    '2.16',
    '2.255',
    '3.01',
  ])
})
