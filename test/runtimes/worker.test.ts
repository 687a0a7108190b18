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
import { buildDomain, readKernel, writeXl } from '../../lib/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { projectRoot } from '../peer/paths.js'

const PACKAGE = pathToFileURL(join(projectRoot, 'dist/package/index.js')).href
const CODE = `
const { parentPort, workerData } = require('node:worker_threads')
import(${JSON.stringify(PACKAGE)}).then(async ({ buildDomain, readKernel, writeXl }) => {
  const kernel = await readKernel(workerData.file)
  for (const chunk of writeXl(buildDomain(kernel, workerData.config))) {
    const bytes = new Uint8Array(chunk)
    parentPort.postMessage(bytes, [bytes.buffer])
  }
})`

const sha256 = (chunks: Iterable<Uint8Array>): string => {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

test('worker threads build what the main thread builds', async (t) => {
  const file = gzipSync(pvKernelFile())
  const config = { type: 'pv', memory: 2 ** 25, ramdisk: new Uint8Array(100_000).fill(7) } as const
  const expected = sha256(writeXl(buildDomain(await readKernel(file), config)))
  const built = await Promise.all(
    [0, 1, 2].map(async () => {
      const chunks: Uint8Array[] = []
      const worker = new Worker(CODE, { eval: true, workerData: { file, config } })
      worker.on('message', (chunk: Uint8Array) => chunks.push(chunk))
      await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
      return sha256(chunks)
    }),
  )
  t.same(built, [expected, expected, expected])
  t.equal(file.length > 0 && config.ramdisk.length, 100_000, 'what was given is still there')
})
