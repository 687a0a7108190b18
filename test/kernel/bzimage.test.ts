/** Tests of the setup header of every protocol version, and of the place of the kernel proper. */
import t from 'tap'
import { SETUP_FIELD_SINCE, SetupHeader, setupHeaderSize } from '../../lib/abi/boot-params.js'
import { hasSetupHeader, showProtocol } from '../../lib/kernel/bzimage.js'
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
