/**
 * Opens what a command was pointed at: a kernel, or a snapshot by its image or its sidecar.
 *
 * Source: ../snapshot/raw.ts; ../kernel/kernel.ts.
 * Gotcha: a raw image is recognised by the sidecar beside it, since guest memory has no magic of its own.
 */
import * as path from 'node:path'
import { decodeZstd } from '../codec/zstd.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { type Kernel, readKernel } from '../kernel/kernel.js'
import { DECOMPRESSED_MAX, gunzip, peekGzip, sniffCompression } from '../snapshot/compressed.js'
import { openSnapshot, sniffSnapshot } from '../snapshot/open.js'
import { openQemu, QEMU_FORMAT } from '../snapshot/qemu.js'
import { openRaw, RAW_FORMAT } from '../snapshot/raw.js'
import { bytesSource } from '../snapshot/source.js'
import { showSize } from '../units.js'
import { exists, fileSource, isRegular, readInput } from './files.js'
import type { Progress } from './progress.js'

/** Reads a kernel, saying so on a terminal: decompression takes a moment. */
export async function openKernel(name: string, progress: Progress): Promise<Kernel> {
  return decoded(name, readInput(name), progress)
}

/** A snapshot. @throws DomainBuilderError `unknown-format` for a kernel. */
export async function openDomain(name: string, progress: Progress): Promise<Domain> {
  const found = await openAny(name, progress)
  if ('domain' in found) return found.domain
  throw new DomainBuilderError('unknown-format', `${name} is a kernel`, { expected: 'a snapshot' })
}

/** The formats that have a sidecar. */
const FORMATS = { [RAW_FORMAT]: openRaw, [QEMU_FORMAT]: openQemu } as const

/** Which of them a sidecar is of, by its first bytes. */
function formatOf(sidecar: Uint8Array): keyof typeof FORMATS | undefined {
  const head = Buffer.from(sidecar.subarray(0, 4096))
  return ([RAW_FORMAT, QEMU_FORMAT] as const).find((format) => head.includes(`"${format}"`))
}

const openSidecar = (text: string, image: string): Domain =>
  FORMATS[formatOf(Buffer.from(text)) ?? RAW_FORMAT](text, fileSource(image))

/** A kernel or a snapshot, whichever the file is. */
export async function openAny(name: string, progress: Progress): Promise<{ kernel: Kernel } | { domain: Domain }> {
  if (name !== '-' && exists(`${name}.json`)) {
    return { domain: openSidecar(Buffer.from(readInput(`${name}.json`)).toString(), name) }
  }
  // A pipe is read once, and whole; a file piece by piece, since a guest's may be larger than what memory there is.
  const source = name === '-' || !isRegular(name) ? undefined : fileSource(name)
  if (source && sniffSnapshot(source)) return { domain: openSnapshot(source) }
  const bytes = readInput(name)
  if (!source && sniffSnapshot(bytesSource(bytes))) return { domain: openSnapshot(bytesSource(bytes)) }
  const inside = compressedSnapshot(bytes)
  if (inside) return { domain: openSnapshot(bytesSource(inside)) }
  if (bytes[0] === '{'.charCodeAt(0) && formatOf(bytes) !== undefined) {
    const text = Buffer.from(bytes).toString()
    const image = path.join(path.dirname(name), path.basename(name).replace(/\.json$/, ''))
    return { domain: openSidecar(text, image) }
  }
  return { kernel: await decoded(name, bytes, progress) }
}

/** What a compressed file holds, if that is a snapshot: a kernel may be compressed as well. */
function compressedSnapshot(bytes: Uint8Array): Uint8Array | undefined {
  const compression = sniffCompression(bytes)
  if (compression === 'gzip') return sniffSnapshot(bytesSource(peekGzip(bytes))) ? gunzip(bytes) : undefined
  if (compression !== 'zstd') return undefined
  const held = decodeZstd(bytes, { limit: DECOMPRESSED_MAX }).bytes
  return sniffSnapshot(bytesSource(held)) ? held : undefined
}

function decoded(name: string, bytes: Uint8Array, progress: Progress): Promise<Kernel> {
  return readKernel(bytes, {
    onStep: (step) => {
      if (step === 'decompress') progress.say(`decompressing ${name}, ${showSize(bytes.length)}`, undefined, true)
    },
  })
}
