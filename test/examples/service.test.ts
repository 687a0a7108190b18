/** Tests examples/service.ts: builds and streams save files for several clients at once; one leaves half-way. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { service } from '../../examples/service.js'
import { buildDomain, type Kernel, readKernel, writeXl } from '../../lib/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20
const MEMORY = 4096 * MiB

interface Answer {
  readonly status: number
  readonly bytes: number
  readonly sha256: string
  readonly text: string
}

/** Requests a guest, and reads the answer, slowly if `pause` is given; stops after `most` bytes. */
function ask(port: number, body: string, pause = 0, most = Number.POSITIVE_INFINITY): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, method: 'POST', path: '/guest.xl' }, async (response) => {
      const hash = createHash('sha256')
      let bytes = 0
      let text = ''
      try {
        for await (const chunk of response as AsyncIterable<Buffer>) {
          hash.update(chunk)
          bytes += chunk.length
          if (bytes < 4096) text += chunk.toString('latin1')
          if (bytes > most) break
          if (pause > 0 && bytes % 7 === 0) await delay(pause)
        }
        resolve({ status: response.statusCode ?? 0, bytes, sha256: hash.digest('hex'), text })
      } catch (error) {
        reject(error)
      }
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

function expected(kernel: Kernel, name: string): { bytes: number; sha256: string } {
  const hash = createHash('sha256')
  const file = writeXl(buildDomain(kernel, { type: 'auto', purpose: 'restore', memory: MEMORY, name }))
  for (const chunk of file) hash.update(chunk)
  return { bytes: file.size, sha256: hash.digest('hex') }
}

async function serving(t: Test, kernel: Kernel): Promise<number> {
  const server = service(kernel).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

test('four guests at once, one client gone half-way, each file whole and its own', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const port = await serving(t, kernel)
  const body = (name: string): string => JSON.stringify({ memory: MEMORY, name })
  const names = ['one', 'two', 'three']
  const gone = ask(port, body('gone'), 0, 2 * MiB)
  const answers = await Promise.all(names.map((name, i) => ask(port, body(name), i)))
  for (const [i, { status, bytes, sha256 }] of answers.entries()) {
    t.same({ status, bytes, sha256 }, { status: 200, ...expected(kernel, names[i] as string) }, `guest ${i}`)
  }
  t.equal(new Set(answers.map(({ sha256 }) => sha256)).size, 3, 'three different guests')
  const { bytes } = await gone
  t.ok(bytes < expected(kernel, 'gone').bytes, `the client that went away took ${bytes} bytes`)
  t.equal((await ask(port, body('after'))).status, 200, 'and the service goes on')
})

test('what is asked for wrongly is an answer of one line', async (t) => {
  const port = await serving(t, await readKernel(pvKernelFile()))
  for (const [body, code] of [
    ['{', 'bad-config'],
    ['{}', 'bad-config'],
    ['{"memory": 1}', 'bad-config'],
    ['{"memory": 4096}', 'memory-too-small'],
    [JSON.stringify({ memory: 'x'.repeat(100000) }), 'bad-config'],
  ] as const) {
    const { status, text } = await ask(port, body)
    t.equal(status, 400, body.slice(0, 20))
    t.match(JSON.parse(text), { error: { code } })
  }
})
