/**
 * node dist/bench/codecs.js [KERNEL]: the processor time of decompressing a real kernel, here and by each format's
 * command, in one run.
 *
 * Source: the kernel's own payload is unpacked once, then compressed in every format as Linux does it.
 * Gotcha: even processor time grows with the load of the machine. Runs of the two alternate; only the medians' ratio
 * counts. Bash measures the command, in milliseconds: the kernel's own counters of child processes have 10 ms.
 * Our first run is also shown: it compiles the decoder, as every command line does.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
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
/** Milliseconds of processor time. */
const cpu = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1000
function commandTime(command: string, args: readonly string[]): number {
  const script = 'TIMEFORMAT="%U %S"; exec 3>&2; { time "$0" "$@" >/dev/null 2>&3; } 2>&1'
  const times = execFileSync('bash', ['-c', script, command, ...args], { encoding: 'utf8' })
  return 1000 * times.split(' ').reduce((sum, seconds) => sum + Number(seconds), 0)
}
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const folder = mkdtempSync(path.join(tmpdir(), 'xdb-codecs-'))
try {
  print(`${path.basename(given)}: ${vmlinux.length} bytes decompressed; ms of processor time, medians of ${ROUNDS}`)
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
      const start = process.cpuUsage()
      const { bytes: out } = await decode(name, stream, { limit: LIMIT })
      ours.push(cpu(process.cpuUsage(start)))
      native.push(commandTime(command, input))
      if (Buffer.compare(out, vmlinux) !== 0) throw new Error(`${name}: another output`)
    }
    const columns = [stream.length, ours[0] ?? Number.NaN, median(ours), median(native)].map((n) => n.toFixed(0))
    const ratio = (median(ours) / median(native)).toFixed(2)
    print(`${name.padEnd(6)}${[...columns, ratio].map((column) => column.padStart(9)).join(' ')}`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
