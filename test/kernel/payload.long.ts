/**
 * Tests of decode(): every format against its own command, and every kind of invalid payload.
 *
 * Source: lib/kernel/payload.ts; the commands are the formats' reference programs, run in the same test.
 * Gotcha: .lzma, lz4 and an xz stream without a check do not detect every damage, so damage may pass there.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { crc32 } from '../../lib/codec/crc.js'
import { CODEC_NAMES, type CodecName, sniffCodec } from '../../lib/codec/magic.js'
import { DomainBuilderError } from '../../lib/errors.js'
import { decode } from '../../lib/kernel/payload.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { compress, PEERS } from './codec-peers.js'
import { refuses } from './refusal.js'

const MiB = 2 ** 20
const LIMIT = 1024 * MiB

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
const join2 = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
const withBytes = (bytes: Uint8Array, at: number, ...values: readonly number[]): Uint8Array => {
  const changed = bytes.slice()
  changed.set(values, at)
  return changed
}

/** The program that runs this test, as real x86 code. */
const program = readFileSync(process.execPath)
/** Returns the same noise each time, by xorshift. */
function noise(length: number): Uint8Array {
  let x = 0x9e3779b9
  return Uint8Array.from({ length }, () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x
  })
}
const code = program.subarray(20 * MiB, 20 * MiB + 3_000_001)
const SAMPLES: Readonly<Record<string, Uint8Array>> = {
  'no bytes': new Uint8Array(0),
  'one byte': Uint8Array.of(0xe8),
  text: new TextEncoder().encode('Dom0, DomU, dom0, domU; '.repeat(40)),
  noise: noise(300_000),
  'runs of each length': join2(...Array.from({ length: 700 }, (_, i) => new Uint8Array(i).fill(i))),
  'mostly zeros': join2(new Uint8Array(2 * MiB), noise(1000), new Uint8Array(2 * MiB), noise(10)),
  code,
  'opcodes of branches': Uint8Array.from(
    { length: 200_000 },
    (_, i) => [0xe8, 0xe9, 0x00, 0xff, 0x01][(i * i) % 7] ?? i,
  ),
}

/** Data for a short stream to damage, with literals, matches and, for the x86 filter, a branch or two. */
const small = join2(code.subarray(0, 6000), noise(500), new Uint8Array(300))

/** Returns the decoded bytes, or the refusal. Throws any other error, which is a defect. */
async function outcome(codec: CodecName, bytes: Uint8Array, size?: number): Promise<Uint8Array | DomainBuilderError> {
  try {
    const bounds = { limit: 64 * MiB, ...(size === undefined ? {} : { size }) }
    return (await decode(codec, bytes, bounds)).bytes
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.cause instanceof WebAssembly.RuntimeError) throw error
    return error
  }
}

for (const codec of CODEC_NAMES) {
  const peer = PEERS[codec]
  t.test(codec, async (t) => {
    if (!(await requirePeer(t, () => findCommand(peer.command, peer.from)))) return

    await t.test(`what ${peer.command} compresses is decompressed`, async (t) => {
      for (const [name, bytes] of Object.entries(SAMPLES)) {
        for (const args of peer.args) {
          const packed = compress(codec, bytes, args)
          t.equal(sniffCodec(packed), codec)
          const decoded = await decode(codec, packed, { limit: LIMIT, size: bytes.length })
          t.ok(same(decoded.bytes, bytes), `${name}, ${args.join(' ')}`)
          t.equal(decoded.consumed, packed.length, 'all of it is used')
        }
      }
    })

    await t.test('at an offset in its buffer', async (t) => {
      const packed = compress(codec, small)
      for (const shift of [1, 2, 3]) {
        const inside = join2(new Uint8Array(shift), packed).subarray(shift)
        t.ok(same((await decode(codec, inside, { limit: LIMIT })).bytes, small))
      }
    })

    await t.test('streams that follow each other', async (t) => {
      const packed = compress(codec, small)
      const both = join2(packed, compress(codec, code))
      const decoded = await outcome(codec, both)
      if (peer.joins) t.ok(decoded instanceof Uint8Array && same(decoded, join2(small, code)), 'are one')
      else t.ok(decoded instanceof Uint8Array && same(decoded, small), 'are not one: the second is left')
    })

    await t.test('what follows the stream', async (t) => {
      const packed = compress(codec, small)
      const padded = await decode(codec, join2(packed, new Uint8Array(16)), { limit: LIMIT })
      t.ok(same(padded.bytes, small), 'zeros are left alone')
      t.equal(padded.consumed, packed.length)
      if (codec === 'gzip') return
      const other = await decode(codec, join2(packed, new Uint8Array(16).fill(0xa5)), { limit: LIMIT })
      t.ok(same(other.bytes, small), 'so is everything else')
      t.equal(other.consumed, packed.length)
    })

    await t.test('the size must be what was promised, and within the limit', async (t) => {
      const packed = compress(codec, small)
      const to = (bounds: Parameters<typeof decode>[2]) => () => decode(codec, packed, bounds)
      const size = small.length
      await refuses(t, to({ limit: LIMIT, size: size - 1, offset: 0x100 }), 'payload-size', /more.*file offset 0x100/)
      await refuses(
        t,
        to({ limit: LIMIT, size: size + 1 }),
        'payload-size',
        `expected ${size + 1} bytes, found ${size}`,
      )
      await refuses(t, to({ limit: LIMIT, size: 2 ** 32 - 1 }), 'payload-too-large', 'found 4294967295')
      await refuses(t, to({ limit: size - 1 }), 'payload-too-large', `at most ${size - 1} bytes`)
      await refuses(t, to({ limit: size - 1, size }), 'payload-too-large', `at most ${size - 1} bytes`)
      t.ok(same((await to({ limit: size, size })()).bytes, small), 'exactly the limit is allowed')
    })

    await t.test('cut short anywhere, it is refused', async (t) => {
      const packed = compress(codec, small)
      const cuts = new Set([...Array(40).keys()].flatMap((i) => [i, packed.length - 1 - i, i * (packed.length >> 6)]))
      for (const cut of cuts) {
        const decoded = await outcome(codec, packed.slice(0, cut), small.length)
        if (!(decoded instanceof DomainBuilderError)) t.fail(`cut to ${cut} of ${packed.length} bytes`)
      }
      t.pass(`${cuts.size} cuts`)
    })

    await t.test('a flipped bit is refused, or changes nothing', async (t) => {
      for (const args of peer.args) {
        const packed = compress(codec, small, args)
        const isChecked = peer.isChecked && !/--(no-check|check=none)|-F/.test(args.join(' '))
        let refused = 0
        for (let bit = 0; bit < packed.length * 8; bit += bit < 1000 ? 7 : 191) {
          const at = bit >> 3
          const decoded = await outcome(codec, withBytes(packed, at, (packed[at] ?? 0) ^ (1 << (bit & 7))))
          if (decoded instanceof DomainBuilderError) refused++
          else if (isChecked && !same(decoded, small)) t.fail(`bit ${bit} changed the output`)
        }
        t.ok(refused > 20, `${args.join(' ')}: ${refused} refused`)
      }
    })

    await t.test('bytes that are something else from some point on', async (t) => {
      const packed = compress(codec, code)
      const other = noise(packed.length)
      for (let at = 16; at < packed.length; at = Math.ceil(at * 1.5)) {
        const decoded = await outcome(codec, join2(packed.subarray(0, at), other.subarray(at)))
        if (decoded instanceof Uint8Array && peer.isChecked) t.fail(`accepted with noise from ${at} on`)
      }
      t.pass()
    })
  })
}

t.test('no format at all', async (t) => {
  t.equal(sniffCodec(Uint8Array.of()), undefined)
  t.equal(sniffCodec(new TextEncoder().encode('\x7fELF')), undefined)
  await refuses(
    t,
    () => decode('xz', Uint8Array.of(0x1f, 0x8b), { limit: LIMIT, offset: 0x4000 }),
    'payload-unknown',
    /xz: .*expected 0xfd 0x37 .*, found 0x1f 0x8b \(file offset 0x4000\)/,
  )
})

t.test('xz: what a stream can have wrong, each with its own message', async (t) => {
  if (!(await requirePeer(t, () => findCommand('xz', 'xz-utils')))) return
  const packed = compress('xz', small, ['--check=crc32', '--x86', '--lzma2'])
  const at = (bytes: Uint8Array) => () => decode('xz', bytes, { limit: LIMIT, offset: 0x1000 })
  /** Changes the block header and corrects its CRC. */
  const blockHeader = (change: (header: Uint8Array) => void): Uint8Array => {
    const changed = packed.slice()
    const header = changed.subarray(12, 12 + ((packed[12] ?? 0) + 1) * 4)
    change(header)
    new DataView(header.buffer, header.byteOffset).setUint32(
      header.length - 4,
      crc32(header.subarray(0, header.length - 4)),
      true,
    )
    return changed
  }
  const dataAt = 12 + ((packed[12] ?? 0) + 1) * 4
  const damaged = 'payload-damaged'
  await refuses(t, at(withBytes(packed, 7, 2)), damaged, /check.*not supported.*found 0x0002 \(file offset 0x1006\)/)
  await refuses(t, at(withBytes(packed, 8, 0)), damaged, /stream header: CRC32 differs from the stored value/)
  await refuses(t, at(withBytes(packed, 13, 0x81)), damaged, /block 0 header: CRC32/)
  await refuses(t, at(blockHeader((h) => h.set([3], 2))), damaged, /not supported.*expected LZMA2.*found delta/)
  await refuses(t, at(blockHeader((h) => h.set([0x3d], 1))), damaged, /block 0: a reserved flag is not supported/)
  await refuses(t, at(withBytes(packed, dataAt, 0x80)), damaged, 'an LZMA2 chunk resets too little')
  await refuses(t, at(withBytes(packed, dataAt, 3)), damaged, 'LZMA2 control byte is out of range: found 0x3')
  await refuses(t, at(withBytes(packed, dataAt, 2)), damaged, 'does not reset the dictionary')
  await refuses(t, at(withBytes(packed, dataAt + 5, 225)), damaged, 'LZMA2 properties are out of range: found 0xe1')
  await refuses(t, at(withBytes(packed, dataAt + 6, 1)), damaged, 'the range coder does not start with 0')
  await refuses(t, at(withBytes(packed, packed.length - 1, 0)), damaged, 'the stream footer magic is missing')
  await refuses(t, at(withBytes(packed, packed.length - 12, 0)), damaged, /stream footer: CRC32/)
  const index = packed.length - 12 - 4 - 4
  await refuses(t, at(withBytes(packed, index - 3, 9)), damaged, /the number of records in the index is wrong|index/)
  await refuses(t, at(packed.slice(0, 100)), damaged, /the stream ends early.*\(file offset 0x1064\)/)

  const plain = compress('xz', small, ['--check=crc64'])
  const wrong = withBytes(plain, plain.length - 12 - 8 - 8, 0)
  await refuses(t, at(wrong), damaged, /block 0: CRC64 differs from the stored value: expected 0x\w+, found 0x\w+/)
})

t.test('lzma: an end marker, a size, or both', async (t) => {
  if (!(await requirePeer(t, () => findCommand('xz', 'xz-utils')))) return
  const marked = compress('lzma', small)
  const withSize = (bytes: Uint8Array, size: number): Uint8Array => {
    const changed = bytes.slice()
    new DataView(changed.buffer).setBigUint64(5, BigInt(size), true)
    return changed
  }
  const decoded = async (bytes: Uint8Array) => decode('lzma', bytes, { limit: LIMIT })
  t.ok(same((await decoded(withSize(marked, small.length))).bytes, small), 'both')
  await refuses(t, () => decoded(withSize(marked, small.length + 1)), 'payload-damaged', 'the end marker comes early')
  await refuses(t, () => decoded(withSize(marked, small.length - 1)), 'payload-damaged', /goes on|passes the end/)
  await refuses(t, () => decoded(withSize(marked, 2 ** 40)), 'payload-too-large', /at most/)

  // The one LZMA chunk of a short xz stream is LZMA without an end marker.
  const xz = compress('xz', small, ['--check=none', '--lzma2'])
  const chunk = 12 + ((xz[12] ?? 0) + 1) * 4
  const length = (xz[chunk + 3] ?? 0) * 256 + (xz[chunk + 4] ?? 0) + 1
  const header = withSize(marked.slice(0, 13), small.length)
  const unmarked = join2(header, xz.subarray(chunk + 6, chunk + 6 + length))
  const result = await decoded(join2(unmarked, noise(20)))
  t.ok(same(result.bytes, small), 'a size alone')
  t.equal(result.consumed, unmarked.length)
})

t.test('lz4: a block ends with five literals', async (t) => {
  const MAGIC = [0x02, 0x21, 0x4c, 0x18]
  const block = (...bytes: readonly number[]) => Uint8Array.of(...MAGIC, bytes.length, 0, 0, 0, ...bytes)
  const decoded = async (bytes: Uint8Array) => decode('lz4', bytes, { limit: LIMIT })
  // Four literals, a match of four bytes at distance 4, and the last literals.
  const start = [0x40, 1, 2, 3, 4, 4, 0]
  const five = block(...start, 0x50, 5, 6, 7, 8, 9)
  t.same((await decoded(five)).bytes, Uint8Array.of(1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9))
  await refuses(t, () => decoded(block(...start, 0x40, 5, 6, 7, 8)), 'payload-damaged', 'the block ends early')
  await refuses(t, () => decoded(block(...start, 0)), 'payload-damaged', 'the block ends early')
  t.same((await decoded(block(0x20, 1, 2))).bytes, Uint8Array.of(1, 2), 'unless it has nothing else')
})

t.test('gzip: members, and padding', async (t) => {
  if (!(await requirePeer(t, () => findCommand('gzip', 'gzip')))) return
  const packed = compress('gzip', small)
  await refuses(
    t,
    () => decode('gzip', join2(packed, noise(20)), { limit: LIMIT }),
    'payload-damaged',
    'incorrect header check',
  )
  await refuses(
    t,
    () => decode('gzip', withBytes(packed, packed.length - 8, 0, 0), { limit: LIMIT }),
    'payload-damaged',
    'incorrect data check',
  )
})
