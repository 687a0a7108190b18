/**
 * Decodes one file in a separate process, and reports on stdout the result, the time, and the peak of memory.
 *
 * Source: VmHWM in /proc/self/status, proc_pid_status(5).
 * Gotcha: getrusage's ru_maxrss starts with the peak of the parent process, so it is not used.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { sniffCodec } from '../../lib/codec/magic.js'
import { DomainBuilderError, type ErrorCode } from '../../lib/errors.js'
import { decode } from '../../lib/kernel/payload.js'

export interface ChildReport {
  /** Milliseconds of processor time, which a busy machine does not increase. */
  readonly ms: number
  /** The peak of memory, in bytes. */
  readonly peak: number
  readonly sha256?: string
  readonly code?: ErrorCode
}

const [path = '', limit = ''] = process.argv.slice(2)
const bytes = readFileSync(path)
const codec = sniffCodec(bytes)
if (codec === undefined) throw new Error(`${path} is not compressed`)
const start = process.cpuUsage()
let outcome: Pick<ChildReport, 'sha256' | 'code'>
let decoded: Uint8Array | undefined
try {
  decoded = (await decode(codec, bytes, { limit: Number(limit) })).bytes
  outcome = {}
} catch (error) {
  if (!(error instanceof DomainBuilderError)) throw error
  outcome = { code: error.code }
}
const { user, system } = process.cpuUsage(start)
const ms = (user + system) / 1000
const [, kibibytes] = /VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1')) ?? []
const peak = Number(kibibytes) * 1024
if (decoded !== undefined) outcome = { sha256: createHash('sha256').update(decoded).digest('hex') }
process.stdout.write(JSON.stringify({ ms, peak, ...outcome } satisfies ChildReport))
