/**
 * Opens every damaged snapshot and reads all of its memory, in a separate process, and reports the cost.
 *
 * Source: VmHWM in /proc/self/status, proc_pid_status(5).
 * Gotcha: wall-clock time would include other processes of the machine, so this counts processor time.
 */
import { readFileSync } from 'node:fs'
import { LIBXC_RECORD, LIBXL_RECORD, RecordHeader } from '../../lib/abi/save-stream.js'
import { type Domain, DomainBuilderError } from '../../lib/index.js'
import { type DamagedSnapshot, damagedSnapshots, type Kind } from '../fixtures/damaged-snapshots.js'

export interface HostileReport {
  readonly cases: number
  /** The number of results, by the damaged input. */
  readonly outcomes: Readonly<Record<string, { readonly opened: number; readonly refused: number }>>
  readonly slowest: { readonly ms: number; readonly name: string }
  /** Peak memory in bytes, before the first case and at the end. */
  readonly before: number
  readonly peak: number
  /** The first few failures. */
  readonly failures: readonly string[]
}

/** The beginning of a refusal that names the damaged part. */
const NAMES_ITS_PLACE: Readonly<Record<Kind, RegExp>> = {
  stream:
    /^(([A-Z0-9_]+|unknown \(0x[0-9a-f]+\)) record|record 0x|(Xenops|Libxc|Libxl|Qemu_trad|Qemu_xen|Demu|End_of_image) record|suspend image header|record header|xl header|libxl [a-z ]*header|libxc |domain configuration|the snapshot format is unknown)/,
  'qemu-stream': /^(QEMU's stream|libvirt|section |the snapshot format is unknown)/,
  core: /^(ELF[: ]|program headers|section |the core|frame list|vcpu contexts|shared_info|the snapshot format is unknown)/,
  kdump:
    /^(kdump|flattened |piece of the flattened|ELF: |ELF notes|bitmap|page|vmcoreinfo|zlib|lzo|snappy|zstd|guest note|the end of the notes|the dump has|the snapshot format)/,
  lime: /^(LiME|the (start|end) of a range|the snapshot format)/,
  gzip: /./,
  sidecar: /^(sidecar|the image|the file|boot_params|hvm_start_info|the snapshot format is unknown)/,
}

/** Reads all bytes that the guest has in the file, and no more, even if the file claims more. Returns their number. */
function readAll({ memory }: Domain): number {
  let total = 0
  for (const { bytes } of memory.chunks()) total += bytes.length
  return total
}

function peakMemory(): number {
  return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024
}

const TYPES: Readonly<Record<string, number>> = { ...LIBXL_RECORD, ...LIBXC_RECORD }

/** Whether the record named in a refusal is the one at its offset. */
function isThere({ message, offset = -1 }: DomainBuilderError, bytes: Uint8Array): boolean {
  const [, name, unknown] = /^(?:([A-Z0-9_]+)|unknown \((0x[0-9a-f]+)\)) record: /.exec(message) ?? []
  if (name === undefined && unknown === undefined) return true
  const { type } = RecordHeader.decode(bytes, offset)
  return type === (name === undefined ? Number(unknown) : TYPES[name])
}

/** Returns the fault of a refusal, or undefined. */
function complaint({ kind, bytes }: DamagedSnapshot, error: unknown): string | undefined {
  if (!(error instanceof DomainBuilderError)) return error instanceof Error ? error.stack : String(error)
  if (/\p{Cc}/u.test(error.message)) return `not one printable line: ${error.message}`
  // A refusal names a value in a sidecar by its path, since a sidecar is a text that people read.
  if (kind !== 'sidecar' && error.offset === undefined) return `no offset: ${error.message}`
  // A damaged beginning may be that of a file of another program, which is named instead.
  if (error.code === 'unknown-format' && /^the file is .*, which is not supported: /.test(error.message))
    return undefined
  if (kind === 'stream' && !isThere(error, bytes)) return `that record is not there: ${error.message}`
  return NAMES_ITS_PLACE[kind].test(error.message) ? undefined : `nothing is named: ${error.message}`
}

let before = 0
const failures: string[] = []
const outcomes: Record<string, { opened: number; refused: number }> = {}
let cases = 0
let slowest = { ms: 0, name: '' }
for await (const damaged of damagedSnapshots()) {
  const { base, damage, open } = damaged
  if (cases++ === 0) before = peakMemory()
  outcomes[base] ??= { opened: 0, refused: 0 }
  const counted = outcomes[base]
  const start = process.cpuUsage()
  try {
    readAll(await open())
    counted.opened++
  } catch (error) {
    counted.refused++
    const wrong = complaint(damaged, error)
    if (wrong !== undefined && failures.length < 10) failures.push(`${base}: ${damage}: ${wrong}`)
  }
  const { user, system } = process.cpuUsage(start)
  const ms = (user + system) / 1000
  if (ms > slowest.ms) slowest = { ms, name: `${base}: ${damage}` }
}
const report: HostileReport = { cases, outcomes, slowest, before, peak: peakMemory(), failures }
process.stdout.write(JSON.stringify(report))
