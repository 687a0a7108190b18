/**
 * Compressed streams: the decoded bytes are those of the format's own program.
 *
 * Source: test/kernel/codec-peers.ts.
 * Gotcha: starting the program is slow. It checks every accepted input, and a sample of the refused ones, chosen by a
 * checksum of the bytes.
 */
import { gunzipSync } from 'node:zlib'
import { concat } from '../../../lib/bytes.js'
import { crc32 } from '../../../lib/codec/crc.js'
import { CODEC_MAGIC, type CodecName } from '../../../lib/codec/magic.js'
import type { Decoded } from '../../../lib/codec/source.js'
import { DomainBuilderError } from '../../../lib/errors.js'
import { decode } from '../../../lib/kernel/payload.js'
import { Random } from '../../fixtures/random.js'
import { compress, PEERS } from '../../kernel/codec-peers.js'
import { findCommand } from '../../peer/command.js'
import { expectSame, type Target, WrongAnswer } from '../target.js'
import { PeerProgram } from './peer.js'

const LIMIT = 2 ** 20
/** One refused input in this many goes to the peer; one input in this many is the seed of data to pack and unpack. */
const ONE_IN = 64

const DECOMPRESS: Readonly<Record<CodecName, string>> = {
  gzip: 'gzip -dc',
  bzip2: 'bzip2 -dc',
  lzma: 'xz --format=lzma -dc',
  lz4: 'lz4 -dc',
  lzo: 'lzop -dc',
  xz: 'xz --format=xz -dc',
  zstd: 'zstd -dc --long=31',
}

/** Returns words, runs, copies of earlier bytes, and noise, to use every part of a compressor. */
export function structuredData(random: Random): Uint8Array {
  let data: Uint8Array = new Uint8Array(0)
  for (let left = 1 + random.below(12); left > 0; left--) {
    const length = random.below(random.pick([4, 40, 400, 1500]))
    const start = random.below(data.length + 1)
    const piece = random.pick([
      () => random.bytes(length),
      () => new Uint8Array(length).fill(random.below(256)),
      () => data.slice(start, start + length),
      () => Uint8Array.from({ length }, (_, i) => [0xe8, i, 0, 0, i & 1 ? 0xff : 0][i % 5] ?? 0),
      () => new TextEncoder().encode('dom0 domU '.repeat(1 + (length >> 3))),
    ])()
    data = concat([data, piece])
  }
  return data
}

const quoted = (args: readonly string[]): string => args.map((arg) => `'${arg}'`).join(' ')

/** Whether a checksum covers all of it. Without one, the programs accept some streams that their format forbids. */
function isChecked(codec: CodecName, bytes: Uint8Array): boolean {
  if (codec === 'zstd') return ((bytes[4] ?? 0) & 4) !== 0
  if (codec === 'xz') return bytes[7] !== 0
  return codec === 'gzip' || codec === 'bzip2'
}

/** xz guesses the .lzma format, and only accepts dictionary sizes that encoders write; a larger one is harmless. */
function asTheyTakeIt(codec: CodecName, stream: Uint8Array): Uint8Array {
  if (codec !== 'lzma') return stream
  const changed = stream.slice()
  new DataView(changed.buffer).setUint32(1, LZMA_DICTIONARY, true)
  return changed
}
const LZMA_DICTIONARY = 2 ** 23

export function codecTarget(codec: CodecName): Target {
  const { command, from, args } = PEERS[codec]
  const shell = new PeerProgram()

  const attempt = async (bytes: Uint8Array): Promise<Decoded | DomainBuilderError> => {
    try {
      return await decode(codec, bytes, { limit: LIMIT })
    } catch (error) {
      if (error instanceof DomainBuilderError && error.cause === undefined) return error
      throw error
    }
  }
  const theirs = async (bytes: Uint8Array): Promise<Uint8Array | string> => {
    if (codec === 'gzip') {
      try {
        return new Uint8Array(gunzipSync(bytes))
      } catch {
        // The format's own program may accept it.
      }
    }
    const { status, bytes: found, said } = await shell.ask(DECOMPRESS[codec], bytes)
    return status === 0 ? found : said || `status ${status}`
  }
  /** Packs data with the peer, and unpacks it with our decoder. */
  const roundTrip = async (seed: number): Promise<void> => {
    const random = new Random(seed)
    const data = structuredData(random)
    // A compressor that does not know the size of its input takes half a gigabyte.
    const hint = codec === 'zstd' ? `--stream-size=${data.length}` : ''
    const packed = await shell.ask(`${command} ${quoted(random.pick(args))} ${hint}`, data)
    if (packed.status !== 0) throw new Error(`${command}: ${packed.said}`)
    expectSame((await decode(codec, packed.bytes, { limit: LIMIT })).bytes, data, `${codec} of its native program`)
  }

  return {
    name: codec,
    executions: 5000,
    maxBytes: 16_384,
    tokens: [Uint8Array.from(CODEC_MAGIC[codec])],
    async missing() {
      const found = await findCommand(command, from)
      return 'missing' in found ? found.missing : undefined
    },
    async seeds() {
      const data = [1, 2, 3].map((seed) => structuredData(new Random(seed)))
      return [new Uint8Array(0), ...data].flatMap((plain) => args.map((some) => compress(codec, plain, some)))
    },
    async run(bytes) {
      const sample = crc32(bytes) % ONE_IN
      if (sample === 0) await roundTrip(crc32(bytes))
      const ours = await attempt(bytes)
      if (ours instanceof DomainBuilderError) {
        if (sample !== 1 || !isChecked(codec, bytes) || ours.code !== 'payload-damaged') throw ours
        const found = await theirs(bytes)
        if (typeof found !== 'string')
          throw new WrongAnswer(`${codec}: refused here (${ours.message}), ${found.length} bytes there`)
        throw ours
      }
      const found = await theirs(asTheyTakeIt(codec, bytes.subarray(0, ours.consumed)))
      if (typeof found === 'string') throw new WrongAnswer(`${codec}: ${ours.bytes.length} bytes here, there: ${found}`)
      expectSame(ours.bytes, found, `${codec} and its native program`)
    },
    close: () => shell.close(),
  }
}
