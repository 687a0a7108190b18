/**
 * The program for every runtime and bundler: it builds guests and prints a description of each, in one line.
 *
 * Source: README.md; it uses no API of a single runtime.
 * Gotcha: a page in a browser has no files, so the program is a text that includes the kernels.
 */
import { gzipSync } from 'node:zlib'
import { buildElf, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { compress } from '../kernel/codec-peers.js'
import { findCommand } from '../peer/command.js'

const VIRT_BASE = 0xffffffff80000000n

/** A kernel of a few hundred KiB: decompressing it takes more than one slice. */
function kernel(): Uint8Array {
  const words = new TextEncoder().encode('the guest at its first instant ')
  const data = new Uint8Array(600_000).map((_, i) => words[i % words.length] as number)
  data.set(patternBytes(1 << 16, 7), 0x10000)
  return buildElf({
    class: 64,
    entry: VIRT_BASE + 0x100000n,
    segments: [{ paddr: 0x100000, vaddr: VIRT_BASE + 0x100000n, data }],
    notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE }),
  })
}

/** The kernel uncompressed, and in every compression whose program is installed; gzip needs none. */
async function kernels(): Promise<Readonly<Record<string, Uint8Array>>> {
  const plain = kernel()
  const files: Record<string, Uint8Array> = { plain, gzip: gzipSync(plain) }
  for (const [codec, command] of [
    ['xz', 'xz'],
    ['zstd', 'zstd'],
    ['lz4', 'lz4'],
    ['bzip2', 'bzip2'],
  ] as const) {
    if ('found' in (await findCommand(command, command))) files[codec] = compress(codec, plain)
  }
  return files
}

/** The program, to run as a module or to bundle. Its last line of output is `done`. */
export async function program(): Promise<string> {
  const files = Object.entries(await kernels()).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')])
  return `import { buildDomain, DomainBuilderError, readKernel, writeXl } from 'xen-domain-builder'
import { assertStartInfo } from 'xen-domain-builder/testing'

const files = ${JSON.stringify(files)}

const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
async function sha256(parts) {
  return hex(await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer()))
}
const text = (value) => JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part))

async function main() {
  for (const [name, base64] of files) {
    const file = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
    const kernel = await readKernel(file)
    const guest = buildDomain(kernel, { type: 'pv', memory: 64 * 2 ** 20, vcpus: 2, cmdline: 'quiet \\u00e4' })
    assertStartInfo(guest, { nr_pages: 0x4000n, cmd_line: 'quiet \\u00e4' })
    const chunks = [...guest.memory.chunks()]
    const memory = await sha256(chunks.flatMap(({ paddr, bytes }) => [String(paddr), bytes]))
    const registers = await sha256([text(guest.vcpus.map(({ pv, ...registers }) => registers))])
    if (kernel.sha256 !== await sha256([file])) throw new Error(name + ': another sha256 of the file')
    console.log([name, memory, registers].join(' '))
  }
  const kernel = await readKernel(Uint8Array.from(atob(files[0][1]), (character) => character.charCodeAt(0)))
  console.log('xl', await sha256([...writeXl(buildDomain(kernel, { type: 'pv', memory: 64 * 2 ** 20 }))]))
  try {
    await readKernel(new Uint8Array(8))
  } catch (error) {
    console.log(String(error instanceof DomainBuilderError), error.code)
  }
  console.log('done')
}
main().catch((error) => console.log(String(error && error.stack)))
`
}
