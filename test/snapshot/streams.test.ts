/**
 * Consumes a writer's bytes in every ordinary way: each gives the same file, even if the chunks are kept.
 *
 * Source: the streams of Node (https://nodejs.org/api/stream.html) and of the Web (https://streams.spec.whatwg.org).
 * Gotcha: a consumer may hold a chunk while it requests the next ones. A writer that reuses a buffer passes every test
 * that hashes chunk by chunk.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, readFileSync } from 'node:fs'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ReadableStream } from 'node:stream/web'
import { createGzip, gunzipSync } from 'node:zlib'
import { type Test, test } from 'tap'
import {
  buildDomain,
  type Domain,
  readKernel,
  SNAPSHOT_FORMATS,
  type SnapshotFile,
  writeSnapshot,
} from '../../lib/index.js'
import { linuxKernelFile, pattern, pvKernelFile } from '../fixtures/kernels.js'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Returns guests with chunks of every kind: placed bytes, long and short, generated ones and holes. */
async function guests(): Promise<Readonly<Record<'pv' | 'linux', Domain>>> {
  const ramdisk = pattern(3 * 2 ** 20 + 777)
  const memory = 24 * 2 ** 20
  const [pv, linux] = [await readKernel(pvKernelFile()), await readKernel(linuxKernelFile())]
  return {
    pv: buildDomain(pv, { type: 'pv', memory, ramdisk, p2m: { offset: 5 } }),
    linux: buildDomain(linux, { type: 'linux', memory: 2 * memory, ramdisk }),
  }
}

/** TypeScript has two types of web streams, which are one class. */
type Stream = NonNullable<ConstructorParameters<typeof Response>[0]> & globalThis.ReadableStream<Uint8Array>

type Way = (file: SnapshotFile, name: string) => Promise<Uint8Array>

/** Each way returns the bytes of the whole file. `name` is a file that may be written. */
const WAYS: Readonly<Record<string, Way>> = {
  'collected in an array': async (file) => Buffer.concat([...file]),
  'fs.promises.writeFile': async (file, name) => {
    await writeFile(name, file)
    return readFileSync(name)
  },
  'a FileHandle, several writes at once': async (file, name) => {
    const handle = await open(name, 'w')
    let at = 0
    const writes = []
    for (const bytes of file) {
      writes.push(handle.write(bytes, 0, bytes.length, at))
      at += bytes.length
    }
    await Promise.all(writes)
    await handle.close()
    return readFileSync(name)
  },
  'pipeline to a file': async (file, name) => {
    await pipeline(file, createWriteStream(name))
    return readFileSync(name)
  },
  'pipeline through gzip': async (file, name) => {
    await pipeline(file, createGzip({ level: 1 }), createWriteStream(name))
    return gunzipSync(readFileSync(name))
  },
  'Readable.from, piped': async (file, name) => {
    await once(Readable.from(file).pipe(createWriteStream(name)), 'close')
    return readFileSync(name)
  },
  'through a PassThrough that holds a lot': async (file, name) => {
    await pipeline(file, new PassThrough({ highWaterMark: 64 << 20 }), createWriteStream(name))
    return readFileSync(name)
  },
  'through a Transform that is a step late': async (file, name) => {
    let held: Uint8Array | undefined
    const late = new Transform({
      transform(chunk, _encoding, done) {
        if (held) this.push(held)
        held = chunk
        done()
      },
      flush(done) {
        if (held) this.push(held)
        done()
      },
    })
    await pipeline(file, late, createWriteStream(name))
    return readFileSync(name)
  },
  'write and drain': async (file, name) => {
    const out = createWriteStream(name)
    for (const chunk of file) if (!out.write(chunk)) await once(out, 'drain')
    out.end()
    await once(out, 'close')
    return readFileSync(name)
  },
  Response: async (file) => new Uint8Array(await new Response(webStream(file)).arrayBuffer()),
  'a ReadableStream, teed': async (file) => {
    const [one, other] = webStream(file).tee()
    const [a, b] = await Promise.all([one, other].map((stream) => new Response(stream).arrayBuffer()))
    if (sha256(new Uint8Array(a as ArrayBuffer)) !== sha256(new Uint8Array(b as ArrayBuffer))) throw new Error('teed')
    return new Uint8Array(a as ArrayBuffer)
  },
  Blob: async (file) => new Uint8Array(await new Blob([...file] as BlobPart[]).arrayBuffer()),
  'two readers in turns': async (file) => {
    const [a, b] = [file[Symbol.iterator](), file[Symbol.iterator]()]
    const [first, second]: Uint8Array[][] = [[], []]
    for (;;) {
      const [x, y] = [a.next(), b.next()]
      if (x.done || y.done) break
      first?.push(x.value)
      second?.push(y.value)
    }
    const [one, other] = [Buffer.concat(first ?? []), Buffer.concat(second ?? [])]
    if (!one.equals(other)) throw new Error('the readers differ')
    return one
  },
  'pieces into a sparse file': async (file, name) => {
    const handle = await open(name, 'w')
    await handle.truncate(file.size)
    for (const { offset, bytes } of [...file.pieces()]) await handle.write(bytes, 0, bytes.length, offset)
    await handle.close()
    return readFileSync(name)
  },
}

const webStream = (file: SnapshotFile) => ReadableStream.from(file) as unknown as Stream

/** Hashes each chunk as it comes, which is right even for a writer that reuses its buffers. */
function hashOf(file: SnapshotFile): string {
  const hash = createHash('sha256')
  for (const chunk of file) hash.update(chunk)
  return hash.digest('hex')
}

test('every file of every format is the same in every way that it is taken', async (t) => {
  const { pv, linux } = await guests()
  const dir = t.testdir()
  for (const name of Object.keys(SNAPSHOT_FORMATS) as (keyof typeof SNAPSHOT_FORMATS)[]) {
    const guest = SNAPSHOT_FORMATS[name].purpose === 'vmm' ? linux : pv
    await t.test(name, async (t) => {
      for (const file of writeSnapshot(guest, name, { name: 'guest' })) await everyWay(t, file, join(dir, 'out'))
    })
  }
})

async function everyWay(t: Test, file: SnapshotFile, output: string): Promise<void> {
  const expected = hashOf(file)
  for (const [way, run] of Object.entries(WAYS)) {
    const bytes = await run(file, output)
    t.equal(bytes.length, file.size, `${way}: as many bytes as the file said it has`)
    t.equal(sha256(bytes), expected, way)
  }
}

test('what a reader keeps is not changed by a guest that is written to afterwards', async (t) => {
  const { pv } = await guests()
  const [file] = writeSnapshot(pv, 'raw')
  const before = [...(file?.pieces() ?? [])]
  const hash = (pieces: typeof before): string => sha256(Buffer.concat(pieces.map(({ bytes }) => bytes)))
  const expected = hash(before)
  for (const { pfn, pages } of pv.memory.pages()) pv.memory.write(pfn * 4096, new Uint8Array(pages * 4096).fill(0xee))
  t.equal(hash(before), expected)
  t.not(hash([...(file?.pieces() ?? [])]), expected, 'who asks again gets what is there now')
})

test('placed bytes are handed out as they are, and not copied', async (t) => {
  const { pv } = await guests()
  for (const name of ['raw', 'xl', 'elf-core', 'xen-core'] as const) {
    const identity = buildDomain(await readKernel(pvKernelFile()), {
      type: 'pv',
      memory: 24 * 2 ** 20,
      ramdisk: pattern(3 * 2 ** 20),
    })
    const [file] = writeSnapshot(name === 'raw' ? pv : identity, name)
    const views = [...(file?.pieces() ?? [])].filter(
      ({ bytes }) => bytes.buffer.byteLength === 3 * 2 ** 20 + (name === 'raw' ? 777 : 0),
    )
    const viewed = views.reduce((sum, { bytes }) => sum + bytes.length, 0)
    // The rest of it at the end of a record is short, and copied.
    t.ok(viewed >= 3 * 2 ** 20 - 2 ** 16, `${name}: ${viewed} bytes of the ramdisk's own buffer`)
  }
})
