/**
 * Save files with one fault each: Xen's message, our message, and dom0, which goes on unharmed.
 *
 * Source: lib/abi/save-stream.ts; the messages of Xen 4.17's xl, libxl and libxenguest, from running them.
 * Gotcha: a refusal alone could mean a missing file, so each damage is checked by its message in both readers.
 */
import { spawnSync } from 'node:child_process'
import {
  DomainHeader,
  LIBXC_HEADER_BYTES,
  LIBXC_RECORD,
  LIBXL_HEADER_BYTES,
  LIBXL_IDENT,
  type LibxcRecordName,
  RecordHeader,
  X86PvVcpu,
  XL_MAGIC,
} from '../../lib/abi/save-stream.js'
import { VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { bytesSource } from '../../lib/index.js'
import { recordAt, type StreamRecord } from '../../lib/snapshot/records.js'
import { MAIN } from '../cli/command.js'
import type { CheckedCase } from './check.js'
import type { GuestSpec } from './guests.js'
import { ourSaveFile } from './saved.js'

interface Damage {
  /** Makes the damaged file from a copy of a sound one, which it may change. */
  make(file: Buffer, records: readonly StreamRecord[]): Uint8Array
  /** xl 4.17 crashes after its message, and the unfinished domain remains. */
  readonly leavesDomain?: true
  /** A text in xl's output. */
  readonly xen: RegExp
  /** A text in our one line. */
  readonly ours: RegExp
}

/** Returns the records of the libxc stream in a sound file. */
function recordsOf(file: Buffer): StreamRecord[] {
  const source = bytesSource(file)
  const records: StreamRecord[] = []
  const start = file.indexOf(LIBXL_IDENT, XL_MAGIC.length) + LIBXL_HEADER_BYTES + RecordHeader.size
  for (let at = start + LIBXC_HEADER_BYTES + DomainHeader.size; ; ) {
    const record = recordAt(source, at, LIBXC_RECORD)
    records.push(record)
    if (record.name === 'END') return records
    at = record.end
  }
}

function find(records: readonly StreamRecord[], name: LibxcRecordName): StreamRecord {
  const found = records.find((record) => record.name === name)
  if (!found) throw new Error(`the file has no ${name}`)
  return found
}

/** Returns the file without some of its bytes. */
const without = (file: Buffer, start: number, end: number): Buffer =>
  Buffer.concat([file.subarray(0, start), file.subarray(end)])

/** Inverts a byte of the file. */
function flip(file: Buffer, at: number): Buffer {
  file[at] = (file[at] ?? 0) ^ 0xff
  return file
}

const DAMAGES: Readonly<Record<string, Damage>> = {
  'cut-in-header': {
    make: (file) => file.subarray(0, 40),
    xen: /truncated reading header/,
    ours: /truncated: xl header:/,
  },
  'cut-in-json': {
    make: (file) => file.subarray(0, 100),
    xen: /truncated reading optdata/,
    ours: /truncated: xl header: optional data/,
  },
  'cut-in-pages': {
    make(file, records) {
      const { body, length } = find(records, 'PAGE_DATA')
      return file.subarray(0, body + (length >> 1))
    },
    xen: /Failed to read \d+ bytes of data for record \(0x00000001/,
    ours: /truncated: PAGE_DATA record/,
  },
  // Both END records are cut, libxc's and libxl's: Xen does not notice if only one is missing.
  'cut-before-end': {
    make: (file, records) => file.subarray(0, find(records, 'END').offset),
    xen: /Failed to read Record Header/,
    ours: /truncated: record header/,
  },
  'xl-magic': {
    make: (file) => flip(file, 0),
    xen: /File has wrong magic number/,
    ours: /found a saved Xen domain \(xl\) whose first bytes are damaged/,
  },
  'libxl-magic': {
    make: (file) => flip(file, file.indexOf(LIBXL_IDENT)),
    leavesDomain: true,
    xen: /Invalid ident/,
    ours: /the libxl stream after xl's header is missing/,
  },
  'libxc-marker': {
    make: (file, [first]) => flip(file, (first?.offset ?? 0) - DomainHeader.size - LIBXC_HEADER_BYTES),
    xen: /Invalid marker/,
    ours: /libxc image header: the marker is missing/,
  },
  'json-broken': {
    make: (file) => flip(file, file.indexOf('{')),
    xen: /libxl__json_parse: yajl error/,
    ours: /domain configuration is not JSON/,
  },
  'short-record': {
    make(file, records) {
      const { offset, length } = find(records, 'PAGE_DATA')
      file.writeUInt32LE(length - 8, offset + RecordHeader.offsetOf('body_length'))
      return file
    },
    xen: /PAGE_DATA record wrong size/,
    ours: /PAGE_DATA record: the length does not match the pages/,
  },
  'endless-record': {
    make(file, records) {
      file.writeUInt32LE(0xfffffff8, find(records, 'PAGE_DATA').offset + RecordHeader.offsetOf('body_length'))
      return file
    },
    xen: /length 0xfffffff8 exceeds max/,
    ours: /PAGE_DATA record: the body is too long/,
  },
  'unknown-record': {
    make(file, records) {
      file.writeUInt32LE(0x7f, find(records, 'STATIC_DATA_END').offset)
      return file
    },
    xen: /Mandatory record 0x7f/,
    ours: /unknown \(0x7f\) record/,
  },
  'start-info-pfn': {
    make(file, records) {
      const { body } = find(records, 'X86_PV_VCPU_BASIC')
      // A frame that no guest of this size has, in %edx.
      file.writeUInt32LE(0x7fffffff, body + X86PvVcpu.size + VcpuGuestContext64.offsetOf('user_regs.rdx'))
      return file
    },
    xen: /xc: error: .*pfn/,
    ours: /X86_PV_VCPU_BASIC record: the range is outside the guest's memory/,
  },
  'pages-missing': {
    make(file, records) {
      const { offset, end } = find(records, 'PAGE_DATA')
      return without(file, offset, end)
    },
    xen: /xc: error: Restore failed/,
    ours: /X86_PV_VCPU_BASIC record: the range is outside the guest's memory/,
  },
}

/** Checks that each file is refused and leaves no domain, and that a sound file is restored after all of them. */
export function damagedCase(name: string, spec: GuestSpec, until: string, said: RegExp): CheckedCase {
  const damaged = async (damage: Damage): Promise<Uint8Array> => {
    const file = Buffer.from(await ourSaveFile(name, spec))
    return damage.make(file, recordsOf(file))
  }
  const kinds = Object.entries(DAMAGES)
  return {
    name,
    files: {
      sound: () => ourSaveFile(name, spec),
      ...Object.fromEntries(kinds.map(([kind, damage]) => [kind, () => damaged(damage)])),
    },
    steps: [
      ...kinds.flatMap(([kind, { leavesDomain }]) => [
        `refused xl restore ${kind}`,
        ...(leavesDomain ? ['xl destroy $NAME'] : []),
        'gone 5',
      ]),
      'xl restore sound',
      `console ${until}`,
      'gone',
    ],
    seconds: 60 + 10 * kinds.length,
    async check(t, { log, console }) {
      t.match(console, said, 'dom0 is well')
      for (const [kind, damage] of kinds) {
        const from = log.indexOf(`refused xl restore ${kind}\n`)
        t.match(log.slice(from, log.indexOf('gone 5\n', from)), damage.xen, `${kind}: Xen`)
        const { status, stdout, stderr } = check(await damaged(damage))
        t.equal(status, 1, `${kind}: our check refuses it`)
        t.match(stdout + stderr, /^[^\n]+\n$/, 'in one line')
        t.match(stdout + stderr, damage.ours, `${kind}: ours`)
      }
      t.equal(check(await ourSaveFile(name, spec)).status, 0, 'our check takes the sound file')
    },
  }
}

const check = (file: Uint8Array) =>
  spawnSync(process.execPath, [MAIN, 'check', '-'], {
    input: file,
    encoding: 'utf8',
  })
