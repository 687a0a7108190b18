/**
 * Compressed snapshots, and the cancellation and progress of long operations.
 *
 * Source: RFC 1952, RFC 8878; gzip(1) and zstd(1) as peers; lib/work.ts.
 * Gotcha: our own gzip has a member for each chunk, gzip(1)'s has only one; both must be readable.
 */
import { spawnSync } from 'node:child_process'
import { gunzipSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { concat } from '../../lib/bytes.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  diffDomains,
  memoryScratch,
  openSnapshot,
  type Part,
  readKernel,
  sniffSnapshot,
  type WorkOptions,
  writeElfCore,
  writeKexec,
  writeLibvirt,
  writeQemuStream,
  writeSnapshot,
  writeXenCore,
  writeXl,
} from '../../lib/index.js'
import { gzipped } from '../../lib/node/gzip.js'
import { linuxKernelFile, pattern, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, openMain, sameGuest } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const MiB = 2 ** 20

async function pvGuest(): Promise<Domain> {
  return buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 16 * MiB, vcpus: 2, cmdline: 'quiet' })
}

const linuxGuest = async (): Promise<Domain> =>
  buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 64 * MiB, ramdisk: pattern(9 * MiB) })

/** Returns the output of a command for this standard input. */
function through(command: string, args: readonly string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr } = spawnSync(command, args, { input, maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error(`${command}: ${stderr}`)
  return stdout
}

t.test('gzip, of one member and of many', async (t) => {
  if (!(await requirePeer(t, () => findCommand('gzip', 'gzip')))) return
  const guest = await pvGuest()
  const plain = bytesOf(writeXl(guest))
  const again = bytesOf(writeXl(openMain(bytesSource(plain))))
  const ours = await collected(gzipped(writeXl(guest)))
  t.ok(gunzipSync(ours).equals(plain), 'zlib takes ours')
  const half = plain.length >> 1
  const files = {
    ours,
    'one member': gzipSync(plain),
    stored: gzipSync(plain, { level: 0 }),
    'two members': Buffer.concat([gzipSync(plain.subarray(0, half)), gzipSync(plain.subarray(half))]),
    'a first member of one byte': Buffer.concat([gzipSync(plain.subarray(0, 1)), gzipSync(plain.subarray(1))]),
    'gzip(1)': through('gzip', ['-9'], plain),
  }
  for (const [name, file] of Object.entries(files)) {
    t.equal(await sniffSnapshot(bytesSource(file)), 'xl', name)
    const read = await openSnapshot(bytesSource(file))
    t.equal(Buffer.compare(bytesOf(writeXl(read)), again), 0, name)
  }
})

t.test('zstd, as zstd(1) writes it', async (t) => {
  if (!(await requirePeer(t, () => findCommand('zstd', 'zstd')))) return
  const guest = await linuxGuest()
  const plain = bytesOf(writeElfCore(guest))
  const zstd = (...args: string[]): Buffer => through('zstd', ['-q', ...args], plain)
  const skippable = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5])
  const files = {
    'from a pipe': zstd('-3'),
    'without a checksum': zstd('--no-check', '-1'),
    'a window of 1 KiB': zstd('--zstd=wlog=10'),
    'a window of 128 MiB': zstd('--long=27'),
    'several threads': zstd('-T2', '-B1MiB'),
    'two frames and one to skip': Buffer.concat([
      through('zstd', ['-q'], plain.subarray(0, 5 * MiB)),
      skippable,
      through('zstd', ['-q'], plain.subarray(5 * MiB)),
    ]),
  }
  for (const [name, file] of Object.entries(files)) {
    t.equal(await sniffSnapshot(bytesSource(file)), 'elf-core', name)
    sameGuest(t, await openSnapshot(bytesSource(file)), guest, name)
  }
  // A window that zstd(1) itself does not accept without --long=31.
  const long = Buffer.from(zstd('--zstd=wlog=10'))
  long[5] = 18 << 3
  await t.rejects(openSnapshot(bytesSource(long)), {
    code: 'payload-damaged',
    message: /zstd: a window of this size is not supported: expected at most 134217728 bytes, found 268435456/,
  })
  await t.rejects(openSnapshot(bytesSource(Buffer.concat([zstd(), Buffer.from('more')]))), {
    code: 'payload-damaged',
    message: /zstd: the data is not a frame: found 4 bytes of something else/,
  })
})

/** Damages files of the guest hundreds of times: each is refused, or opens as the whole guest. */
async function damage(t: Test, guest: Domain, files: readonly Uint8Array[]): Promise<void> {
  let seed = 1
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
  let refused = 0
  for (const file of files) {
    for (let i = 0; i < 300; i++) {
      const bytes = Buffer.from(file)
      const at = random(bytes.length)
      if (i % 3 === 0) bytes[at] = (bytes[at] as number) ^ (1 << random(8))
      const damaged = i % 3 === 0 ? bytes : i % 3 === 1 ? bytes.subarray(0, at) : spliced(bytes, at, random(40))
      await openSnapshot(bytesSource(damaged)).then(
        // A flipped bit in a header field that does not matter (MTIME, OS), or a lost member of a whole record.
        (opened) => t.equal(opened.memory.pageCount, guest.memory.pageCount),
        (error: unknown) => {
          if (!(error instanceof DomainBuilderError)) throw error
          refused++
        },
      )
    }
  }
  t.ok(refused > 0.95 * 300 * files.length, `${refused} refused`)
}

t.test('a gzip file with any damage is refused', async (t) => {
  const guest = await pvGuest()
  await damage(t, guest, [gzipSync(bytesOf(writeXl(guest))), await collected(gzipped(writeXl(guest)))])
})

t.test('so is a zstd file', async (t) => {
  if (!(await requirePeer(t, () => findCommand('zstd', 'zstd')))) return
  const guest = await pvGuest()
  await damage(t, guest, [through('zstd', ['-q'], bytesOf(writeXl(guest)))])
})

const spliced = (bytes: Buffer, at: number, length: number): Buffer =>
  Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])

t.test('a scratch in memory keeps bytes that are given away, if most of them are not zero', async (t) => {
  const scratch = memoryScratch()
  const block = 2 ** 16
  const given = new Uint8Array(4 * block)
  for (const i of [0, 2, 3]) given.fill(i + 1, i * block, (i + 1) * block)
  t.equal(scratch.keepAt?.(given, 8 * block), true)
  const sparse = new Uint8Array(4 * block).fill(9, 0, block)
  t.equal(scratch.keepAt?.(sparse, 16 * block), false, 'most of them are zero: a copy takes less room')
  sparse.fill(0)
  t.equal(scratch.keepAt?.(new Uint8Array(4 * block).fill(7), 9 * block + 1), true, 'at any place')
  scratch.writeAt(Uint8Array.of(5, 6), 8 * block)
  const expected = new Uint8Array(12 * block)
  expected.set([5, 6])
  expected.fill(1, 2, block)
  expected.fill(7, block + 1, 5 * block + 1)
  expected.fill(9, 8 * block, 9 * block)
  const found = new Uint8Array(12 * block)
  scratch.readInto(8 * block, found)
  t.equal(Buffer.compare(found, expected), 0)
  t.throws(() => memoryScratch(block).keepAt?.(given, 0), { code: 'payload-too-large' })
  // Zero bytes replace what was there.
  scratch.keepAt?.(new Uint8Array(4 * block), 16 * block)
  scratch.readInto(16 * block, found.subarray(0, block))
  t.ok(found.subarray(0, block).every((byte) => byte === 0))
})

t.test('a bomb is refused, and memory is bounded', async (t) => {
  const zeros = new Uint8Array(64 * MiB)
  const start = bytesOf(writeXl(await pvGuest())).subarray(0, 4096)
  // Zeros take no room in any scratch space.
  const scratch = memoryScratch(1 * MiB)
  await t.rejects(openSnapshot(bytesSource(gzipSync(Buffer.concat([start, zeros]))), { scratch }), {
    code: 'bad-snapshot',
  })
  const noise = Buffer.concat([start, pattern(3 * MiB)])
  await t.rejects(openSnapshot(bytesSource(gzipSync(noise)), { scratch: memoryScratch(2 * MiB) }), {
    code: 'payload-too-large',
    message: /expected at most 2097152 bytes that are not zero, found more/,
  })
  // Over 2 GiB of zeros in a few bytes: blocks of one repeated byte, 128 KiB in 4 bytes each.
  const block = Buffer.from([0x02, 0x00, 0x10, 0x00])
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])
  const bomb = Buffer.concat([header, ...Array.from({ length: 20000 }, () => block)])
  await t.rejects(openSnapshot(bytesSource(bomb)), {
    code: 'payload-too-large',
    message: /zstd: the decompressed payload is too large: expected at most 134217728 bytes, found more/,
  })
})

/** Collects all bytes of an asynchronous sequence. */
async function collected(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return concat(all)
}

/** Returns every operation that takes WorkOptions, with a suitable guest. */
async function works(): Promise<{ name: string; run: (options: WorkOptions) => Promise<unknown> }[]> {
  const [pv, linux] = [await pvGuest(), await linuxGuest()]
  const pieces = (make: (options: WorkOptions) => Iterable<unknown>) => async (options: WorkOptions) => {
    let count = 0
    for (const _ of make(options)) count++
    return count
  }
  const zipped = bytesSource(gzipSync(bytesOf(writeElfCore(linux))))
  return [
    { name: 'writeXl', run: pieces((options) => writeXl(pv, options)) },
    { name: 'writeXenCore', run: pieces((options) => writeXenCore(linux, options)) },
    { name: 'writeElfCore', run: pieces((options) => writeElfCore(linux, options)) },
    { name: 'writeKexec', run: pieces((options) => writeKexec(linux, options)) },
    { name: 'writeQemuStream', run: pieces((options) => writeQemuStream(linux, options)) },
    { name: 'writeLibvirt', run: pieces((options) => writeLibvirt(linux, options)) },
    { name: 'chunks', run: pieces((options) => linux.memory.chunks(options)) },
    { name: 'qemu', run: pieces((options) => writeSnapshot(linux, 'qemu', options)[0]?.pieces() ?? []) },
    { name: 'openSnapshot', run: (options) => openSnapshot(zipped, options) },
    { name: 'diffDomains', run: async (options) => diffDomains(linux, await linuxGuest(), options) },
  ]
}

t.test('progress rises to all of it, and a signal stops the work', async (t) => {
  for (const { name, run } of await works()) {
    const parts: Part[] = []
    await run({ onProgress: (part) => parts.push(part) })
    const last = parts.at(-1)
    t.ok(last && last.total > 0 && last.done === last.total, `${name}: ${last?.done} of ${last?.total}`)
    t.ok(
      parts.every(({ done, total }, i) => total === last?.total && done >= (parts[i - 1]?.done ?? 0)),
      'it rises',
    )

    const before = AbortSignal.abort(new Error('before it began'))
    await t.rejects(run({ signal: before }), { message: 'before it began' }, `${name}: aborted before`)
    const controller = new AbortController()
    let told = 0
    const onProgress = () => {
      if (++told === 1) controller.abort(new Error('enough'))
    }
    await t.rejects(
      run({ signal: controller.signal, onProgress }),
      { message: 'enough' },
      `${name}: aborted in between`,
    )
    t.equal(told, 1, 'nothing is done after that')
  }
})

t.test('the event loop has its turn while a file is decompressed', async (t) => {
  const zipped = gzipSync(bytesOf(writeElfCore(await linuxGuest())), { level: 0 })
  const repeated = bytesSource(Buffer.concat(Array.from({ length: 40 }, () => zipped)))
  const timeout = AbortSignal.timeout(20)
  await t.rejects(openSnapshot(repeated, { signal: timeout, scratch: { writeAt() {}, readInto() {} } }), {
    name: 'TimeoutError',
  })
})
