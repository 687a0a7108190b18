/**
 * The library in a worker thread: bytes go in and come out, and several threads build the same guest at once.
 *
 * Source: https://nodejs.org/api/worker_threads.html
 * Gotcha: a user's worker imports the bundle, which may differ from the sources, so this imports the bundle.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'
import { test } from 'tap'
import { buildDomain, type DomainConfig, readKernel, writeSnapshot } from '../../lib/index.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { projectRoot } from '../peer/paths.js'

const PACKAGE = pathToFileURL(join(projectRoot, 'dist/package/index.js')).href
const CODE = `
const { parentPort, workerData } = require('node:worker_threads')
import(${JSON.stringify(PACKAGE)}).then(async ({ buildDomain, readKernel, writeSnapshot }) => {
  const { file, config, format } = workerData
  const guest = buildDomain(await readKernel(file), config)
  for (const made of writeSnapshot(guest, format)) {
    for (const { bytes } of made.pieces()) parentPort.postMessage(new Uint8Array(bytes))
  }
})`

/** The guest and the format that a thread makes. */
interface Asked {
  readonly file: Uint8Array
  readonly config: DomainConfig
  readonly format: 'xl' | 'qemu'
}

/** Returns the bytes with content of the files that a thread makes. */
async function madeInThread(asked: Asked, stackSizeMb?: number): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  const limits = stackSizeMb === undefined ? {} : { resourceLimits: { stackSizeMb } }
  const worker = new Worker(CODE, { eval: true, workerData: asked, ...limits })
  worker.on('message', (chunk: Uint8Array) => chunks.push(chunk))
  await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
  return chunks
}

/** Returns the same, made in this thread. */
async function madeHere({ file, config, format }: Asked): Promise<Uint8Array[]> {
  const files = writeSnapshot(buildDomain(await readKernel(file), config), format)
  return files.flatMap((made) => [...made.pieces()].map(({ bytes }) => bytes))
}

const sha256 = (chunks: Iterable<Uint8Array>): string => {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

test('worker threads build what the main thread builds', async (t) => {
  const file = gzipSync(pvKernelFile())
  const config = { type: 'pv', memory: 2 ** 25, ramdisk: new Uint8Array(100_000).fill(7) } as const
  const expected = sha256(await madeHere({ file, config, format: 'xl' }))
  const built = await Promise.all([0, 1, 2].map(async () => sha256(await madeInThread({ file, config, format: 'xl' }))))
  t.same(built, [expected, expected, expected])
  t.equal(file.length > 0 && config.ramdisk.length, 100_000, 'what was given is still there')
})

test('a thread with a small stack makes the ROM of a 16-bit guest, with its 30 KiB of setup code', async (t) => {
  const file = buildBzImage({ payload: gzipSync(pvKernelFile()), setupSects: 60 })
  const config = { type: 'linux', entry: 16, memory: 2 ** 26, cmdline: 'x'.repeat(2000) } as const
  const made = await madeInThread({ file, config, format: 'qemu' }, 0.5)
  t.equal(sha256(made), sha256(await madeHere({ file, config, format: 'qemu' })))
})
