/**
 * readKernel yields to the event loop, for any input.
 *
 * Source: lib/work.ts. npm run bench:loop measures it in milliseconds.
 * Gotcha: measured times vary on a busy machine. This counts slices, and bounds the input that each of them uses.
 */
import { gzipSync } from 'node:zlib'
import { test } from 'tap'
import { decodeBzip2 } from '../../lib/codec/bzip2.js'
import { decodeGzip } from '../../lib/codec/gzip.js'
import { decodeLz4 } from '../../lib/codec/lz4.js'
import { decodeLzma } from '../../lib/codec/lzma.js'
import { decodeLzo } from '../../lib/codec/lzo.js'
import { type Decoded, Source } from '../../lib/codec/source.js'
import { decodeXz } from '../../lib/codec/xz.js'
import { decodeZstd } from '../../lib/codec/zstd.js'
import { type KernelPart, readKernel } from '../../lib/index.js'
import { parseElf } from '../../lib/kernel/elf.js'
import { readNotes } from '../../lib/kernel/notes.js'
import { patternBytes } from '../../lib/testing/index.js'
import { doSlices, type Slices } from '../../lib/work.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { compress, PEERS } from './codec-peers.js'

const MiB = 2 ** 20

/** The decoders, by the name of the codec. */
const DECODERS = {
  gzip: decodeGzip,
  bzip2: decodeBzip2,
  lzma: decodeLzma,
  lz4: decodeLz4,
  lzo: decodeLzo,
  xz: decodeXz,
  zstd: decodeZstd,
} as const satisfies Readonly<Record<string, (source: Source) => Slices<Decoded>>>

const noise = patternBytes(4 * MiB, 3)
/** Incompressible data, one repeated byte, and a mix as in a kernel; they decode in steps of very different sizes. */
const CONTENT = {
  noise,
  zeros: new Uint8Array(12 * MiB),
  mixed: new Uint8Array(6 * MiB).map((_, i) => ((i >> 9) & 3 ? (i >> 5) & 0xff : (noise[i % noise.length] as number))),
}

for (const [name, decoder] of Object.entries(DECODERS)) {
  const codec = name as keyof typeof DECODERS
  test(`${codec} is decoded in slices`, async (t) => {
    const { command } = PEERS[codec]
    if (!(await requirePeer(t, () => findCommand(command, command)))) return
    for (const [what, plain] of Object.entries(CONTENT)) {
      const source: Source = new Source(codec, compress(codec, plain), { limit: 2 ** 30 })
      const slices = decoder(source)
      let count = 0
      let most = 0
      let at = source.at
      let next = slices.next()
      for (; !next.done; next = slices.next()) {
        count++
        most = Math.max(most, source.at - at)
        at = source.at
      }
      t.equal(Buffer.compare(next.value.bytes, plain), 0, what)
      t.ok(count >= plain.length / MiB, `${what}: ${count} slices`)
      // An lz4 block, of 8 MiB at most, is read whole and copied in slices.
      t.ok(codec === 'lz4' || most <= MiB, `${what}: ${most} bytes at once`)
    }
  })
}

test('headers and notes by the ten thousand are read in slices', async (t) => {
  const slicesOf = (slices: Slices<unknown>): number => {
    let count = 0
    while (!slices.next().done) count++
    return count
  }
  const crowd = crowded()
  t.ok(slicesOf(parseElf(crowd)) > 50)
  const elf = await doSlices(parseElf(crowd))
  t.equal(elf.segments.length, 30_000)
  t.equal(elf.sections.length, 29_999)
  t.equal((await doSlices(readNotes(elf))).notes.length, 20_000)
  t.ok(slicesOf(readNotes(elf)) > 15)
})

/** An ELF of 30,000 program headers, as many section headers, and 20,000 notes. */
function crowded(): Uint8Array {
  const [headers, notes] = [30_000, 20_000]
  const [phoff, shoff] = [64, 64 + headers * 56]
  const notesAt = shoff + headers * 64
  const bytes = new Uint8Array(notesAt + notes * 20)
  const view = new DataView(bytes.buffer)
  const [u16, u32] = [
    (at: number, value: number) => view.setUint16(at, value, true),
    (at: number, value: number) => view.setUint32(at, value, true),
  ]
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  u16(16, 2)
  u16(18, 62)
  u32(20, 1)
  u32(32, phoff)
  u32(40, shoff)
  for (const [at, value] of [
    [52, 64],
    [54, 56],
    [56, headers],
    [58, 64],
    [60, headers],
  ] as const)
    u16(at, value)
  u32(phoff, 4)
  u32(phoff + 8, notesAt)
  u32(phoff + 32, notes * 20)
  for (let i = 0; i < headers; i++) u32(shoff + i * 64 + 4, 1)
  for (let i = 0; i < notes; i++) {
    const at = notesAt + i * 20
    u32(at, 4)
    u32(at + 4, 4)
    u32(at + 8, 1)
    bytes.set([0x47, 0x4e, 0x55, 0], at + 12)
  }
  return bytes
}

/** A kernel with `more` bytes after its ELF, under gzip. */
const packedKernel = (more: number): Uint8Array => gzipSync(Buffer.concat([pvKernelFile(), patternBytes(more, 5)]))

test('timers run while a kernel is read, and the parts rise to all of it', async (t) => {
  const file = packedKernel(40 * MiB)
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const parts: KernelPart[] = []
  await readKernel(file, { onProgress: (part) => parts.push(part) })
  clearInterval(timer)
  t.ok(turns > 0, `${turns} turns`)
  for (const step of ['decompress', 'hash'] as const) {
    const own = parts.filter((part) => part.step === step)
    const last = own.at(-1)
    t.ok(
      own.every(({ done, total }, i) => total === file.length && done >= (own[i - 1]?.done ?? 0)),
      `${step} rises`,
    )
    t.equal(last?.done, file.length)
  }
  t.ok(parts.filter(({ step, done }) => step === 'decompress' && done < file.length).length > 5, 'in between too')
})

test('a signal stops the reading, with its reason', async (t) => {
  const file = packedKernel(40 * MiB)
  const controller = new AbortController()
  let after = 0
  const reading = readKernel(file, { signal: controller.signal, onProgress: () => after++ })
  setTimeout(() => {
    after = 0
    controller.abort(new Error('enough'))
  }, 1)
  await t.rejects(reading, { message: 'enough' })
  t.ok(after <= 1, 'at the next turn')
  await t.rejects(readKernel(file, { signal: AbortSignal.abort(new Error('before')) }), { message: 'before' })
  const stop = () => {
    throw new Error('from onProgress')
  }
  await t.rejects(readKernel(file, { onProgress: stop }), { message: 'from onProgress' })
})

test('those who read at once take turns', async (t) => {
  const file = packedKernel(10 * MiB)
  const order: number[] = []
  await Promise.all([0, 1, 2].map((who) => readKernel(file, { onProgress: () => order.push(who) })))
  const [first, last] = [0, 1, 2].map((who) => order.lastIndexOf(who)).sort((a, b) => a - b)
  t.ok((first ?? 0) > order.length / 4, `the first ends at ${first}, the last at ${last} of ${order.length}`)
})
