/**
 * node dist/bench/codecs.js [KERNEL]: times decompressing a real kernel, here and by each format's command, in one run.
 *
 * Source: the kernel's own payload is unpacked once, then compressed in every format as Linux does it.
 * Gotcha: absolute times vary with the load of the machine. Runs of the two alternate; only the medians' ratio counts.
 * Our first run is also shown: it compiles the decoder, as every command line does.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { performance } from 'node:perf_hooks'
import { CODEC_NAMES, sniffCodec } from '../lib/codec/magic.js'
import { parseBzImage } from '../lib/kernel/bzimage.js'
import { decode } from '../lib/kernel/payload.js'
import { compress, PEERS } from '../test/kernel/codec-peers.js'
import { kernel as fetched } from '../test/peer/kernels.js'

const ROUNDS = 9
const LIMIT = 2 ** 30

const given = process.argv[2] ?? fetched('debian-amd64')
if (given === undefined) throw new Error('no kernel: name one, or fetch them with npm run kernels')
const { payload } = parseBzImage(readFileSync(given))
if (payload === undefined) throw new Error(`${given} has no payload`)
const packed = readFileSync(given).subarray(payload.offset, payload.offset + payload.length)
const codec = sniffCodec(packed)
if (codec === undefined) throw new Error(`${given}: its payload is not compressed`)
const vmlinux = (await decode(codec, packed, { limit: LIMIT })).bytes.slice()

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const folder = mkdtempSync(path.join(tmpdir(), 'xdb-codecs-'))
try {
  print(`${path.basename(given)}: ${vmlinux.length} bytes decompressed; ms, medians of ${ROUNDS}`)
  print('format    packed    first     ours   native    ratio')
  for (const name of CODEC_NAMES) {
    const file = path.join(folder, name)
    const bytes = name === codec ? packed : compress(name, vmlinux)
    // The command takes no size after the stream.
    const { consumed } = await decode(name, bytes, { limit: LIMIT })
    const stream = bytes.subarray(0, consumed)
    writeFileSync(file, stream)
    const { command, args } = PEERS[name]
    const format = args[0]?.filter((arg) => arg.startsWith('--format')) ?? []
    const input = [...format, '-dc', file]
    const ours: number[] = []
    const native: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const start = performance.now()
      const { bytes: out } = await decode(name, stream, { limit: LIMIT })
      const between = performance.now()
      execFileSync(command, input, { stdio: ['ignore', 'ignore', 'inherit'] })
      native.push(performance.now() - between)
      ours.push(between - start)
      if (Buffer.compare(out, vmlinux) !== 0) throw new Error(`${name}: another output`)
    }
    const columns = [stream.length, ours[0] ?? Number.NaN, median(ours), median(native)].map((n) => n.toFixed(0))
    const ratio = (median(ours) / median(native)).toFixed(2)
    print(`${name.padEnd(6)}${[...columns, ratio].map((column) => column.padStart(9)).join(' ')}`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
