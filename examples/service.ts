/**
 * A service that builds guests: each request gets a separate save file, streamed while it is made.
 *
 * Source: https://nodejs.org/api/http.html; xl(1), "restore".
 * Gotcha: reading the kernel for each request would be slow; it is read once. Placed bytes are not copied, so a request
 * costs no more than the guest's own pages.
 *
 *     node dist/examples/service.js vmlinuz 8080
 *     curl --data '{"memory": 268435456, "cmdline": "console=hvc0"}' http://localhost:8080/guest.xl > guest.xl
 */
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { buildDomain, DomainBuilderError, type Kernel, readKernel, writeXl } from 'xen-domain-builder'

/** The largest request, in bytes. */
const REQUEST_MOST = 1 << 16

async function readRequest(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk
    if (text.length > REQUEST_MOST) throw new DomainBuilderError('bad-config', 'the request is too large')
  }
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch (cause) {
    throw new DomainBuilderError('bad-config', 'the request is not JSON', { cause })
  }
}

async function answer(kernel: Kernel, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { memory, vcpus, cmdline, name } = await readRequest(request)
  // The library checks its arguments: an unknown key or a value of the wrong type is refused in one line.
  const config = { type: 'auto', purpose: 'restore', memory, vcpus, cmdline, name } as const
  const file = writeXl(buildDomain(kernel, config as Parameters<typeof buildDomain>[1]))
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': file.size })
  await pipeline(Readable.from(file), response)
}

/** The service, not yet listening. */
export function service(kernel: Kernel): Server {
  return createServer((request, response) => {
    answer(kernel, request, response).catch((error: Error) => {
      // A client that left has closed the stream; there is no client to answer.
      if (response.headersSent) return response.destroy()
      response.writeHead(error instanceof DomainBuilderError ? 400 : 500, { 'content-type': 'application/json' })
      response.end(
        `${JSON.stringify({ error: error instanceof DomainBuilderError ? error : { message: 'failed' } })}\n`,
      )
    })
  })
}

if (process.argv[1] === import.meta.filename) {
  const [, , file, port = '8080'] = process.argv
  if (file === undefined) {
    console.error('usage: service VMLINUZ [PORT]')
    process.exitCode = 2
  } else {
    service(await readKernel(readFileSync(file))).listen(Number(port), '127.0.0.1', () => console.log(`port ${port}`))
  }
}
