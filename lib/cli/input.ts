/**
 * Opens what a command was pointed at: a kernel, or a snapshot by its image or its sidecar.
 *
 * Source: ../snapshot/raw.ts; ../kernel/kernel.ts.
 * Gotcha: a raw image is recognised by the sidecar beside it, since guest memory has no magic of its own.
 */
import * as path from 'node:path'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { type Kernel, readKernel } from '../kernel/kernel.js'
import { openSnapshot, sniffSnapshot } from '../snapshot/open.js'
import { openQemu, QEMU_FORMAT } from '../snapshot/qemu.js'
import { openRaw, RAW_FORMAT } from '../snapshot/raw.js'
import type { ByteSource } from '../snapshot/source.js'
import { exists, fileSource, inputSource, MAX_INPUT, readInput, scratchFile } from './files.js'
import type { Progress } from './progress.js'

/** Reads a kernel, saying so on a terminal: decompression takes a moment. */
export async function openKernel(name: string, progress: Progress): Promise<Kernel> {
  return decoded(name, readInput(name), progress)
}

/** A snapshot. @throws DomainBuilderError `unknown-format` for a kernel, and for what is neither. */
export async function openDomain(name: string, progress: Progress): Promise<Domain> {
  const found = await openAny(name, progress).catch((error: unknown) => {
    if (!(error instanceof DomainBuilderError) || error.code !== 'not-a-kernel') throw error
    throw new DomainBuilderError('unknown-format', `${name} is no snapshot`, {
      expected: `one of those that build writes (a raw or qemu one is known by the ${name}.json beside it)`,
      ...(error.found === undefined ? {} : { found: error.found }),
      cause: error,
    })
  })
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
  const source = inputSource(name)
  if (await sniffSnapshot(source)) {
    const domain = await openSnapshot(source, {
      scratch: scratchFile(),
      onProgress: (part) => progress.say(`decompressing ${name}`, part),
    })
    return { domain }
  }
  const bytes = wholeOf(source)
  if (bytes[0] === '{'.charCodeAt(0) && formatOf(bytes) !== undefined) {
    const text = Buffer.from(bytes).toString()
    const image = path.join(path.dirname(name), path.basename(name).replace(/\.json$/, ''))
    return { domain: openSidecar(text, image) }
  }
  return { kernel: await decoded(name, bytes, progress) }
}

/** All of a source, which is no snapshot. @throws DomainBuilderError `not-a-kernel` where it is too long to be one. */
function wholeOf(source: ByteSource): Uint8Array {
  if (source.size > MAX_INPUT) {
    throw new DomainBuilderError('not-a-kernel', 'the file is too long for a kernel, and no snapshot that we know', {
      expected: `at most ${MAX_INPUT} bytes`,
      found: `${source.size}`,
    })
  }
  const bytes = new Uint8Array(source.size)
  source.readInto(0, bytes)
  return bytes
}

function decoded(name: string, bytes: Uint8Array, progress: Progress): Promise<Kernel> {
  return readKernel(bytes, {
    onProgress: ({ step, ...part }) => {
      if (step === 'decompress') progress.say(`decompressing ${name}`, part)
    },
  })
}
