/**
 * npm run bench:service [-- KERNEL]: serves four save files at once over HTTP, while one client leaves half-way.
 * Reports how long the service's event loop is blocked, and how much memory it takes.
 *
 * Source: https://nodejs.org/api/perf_hooks.html#perf_hooksmonitoreventloopdelayoptions; getrusage(2).
 * Gotcha: clients in the same process would be measured too, so they run in another one.
 */
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { service } from '../examples/service.js'
import { buildDomain, readKernel, writeXl } from '../lib/index.js'
import { kernel as fetched } from '../test/peer/kernels.js'

const MiB = 2 ** 20
const MEMORY = 1024 * MiB
const REQUESTS = 4

interface Report {
  readonly gap: number
  readonly peak: number
  readonly kernelBytes: number
}

/** The service's process: reports its port, and on request the resources that it took. */
async function serve(file: string): Promise<void> {
  const kernel = await readKernel(readFileSync(file))
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const server = service(kernel).listen(0, '127.0.0.1')
  await once(server, 'listening')
  delay.enable()
  process.once('disconnect', () => process.exit())
  process.on('message', () => {
    const kernelBytes = kernel.elf?.bytes.length ?? 0
    const report: Report = { gap: delay.max / 1e6, peak: process.resourceUsage().maxRSS * 1024, kernelBytes }
    process.send?.(report, () => process.exit())
  })
  process.send?.((server.address() as AddressInfo).port)
}

/** The sha-256 of an answer, or of its first `most` bytes. */
function ask(port: number, name: string, most = Number.POSITIVE_INFINITY): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, method: 'POST' }, async (response) => {
      const hash = createHash('sha256')
      let bytes = 0
      for await (const chunk of response as AsyncIterable<Buffer>) {
        hash.update(chunk)
        bytes += chunk.length
        if (bytes > most) break
      }
      resolve(hash.digest('hex'))
    })
    asked.on('error', reject)
    asked.end(JSON.stringify({ memory: MEMORY, name }))
  })
}

async function measure(file: string): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['--serve', file])
  const [port] = (await once(child, 'message')) as [number]
  const start = performance.now()
  const names = Array.from({ length: REQUESTS - 1 }, (_, i) => `guest${i}`)
  const [answers] = await Promise.all([Promise.all(names.map((name) => ask(port, name))), ask(port, 'gone', 20 * MiB)])
  const ms = performance.now() - start
  child.send('report')
  const [{ gap, peak, kernelBytes }] = (await once(child, 'message')) as [Report]
  const kernel = await readKernel(readFileSync(file))
  const right = names.map((name) => {
    const hash = createHash('sha256')
    for (const chunk of writeXl(buildDomain(kernel, { purpose: 'restore', memory: MEMORY, name }))) hash.update(chunk)
    return hash.digest('hex')
  })
  const allowed = kernelBytes / MiB + 64 * REQUESTS
  process.stdout.write(
    `${REQUESTS} requests at once, one gone half-way: ${ms.toFixed(0)} ms, ` +
      `${answers.filter((sha, i) => sha === right[i]).length} of ${right.length} files right; ` +
      `longest event-loop gap ${gap.toFixed(1)} ms; peak ${(peak / MiB).toFixed(0)} MiB ` +
      `of ${allowed.toFixed(0)} (kernel and 64 MiB a request)\n`,
  )
}

const [, , first, second] = process.argv
if (first === '--serve') await serve(second as string)
else {
  const file = first ?? fetched('debian-amd64')
  if (file === undefined) throw new Error('no kernel: name one, or fetch them with npm run kernels')
  await measure(file)
}
