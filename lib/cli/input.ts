/**
 * Opens the input of a command: a kernel or a snapshot, detected by its content.
 *
 * Source: ../node/snapshot-files.ts; ../kernel/kernel.ts.
 * Gotcha: names are unreliable, so the content decides. A raw or qemu snapshot is detected by the sidecar next to it.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { Kernel } from '../kernel/kernel.js'
import { readKernelSource } from '../node/kernel-file.js'
import { openInputFiles as openSnapshotInput } from '../node/snapshot-files.js'
import type { ByteSource } from '../snapshot/byte-source.js'
import { SNAPSHOT_FORMATS } from '../snapshot/formats.js'
import { refuseForeignSource, sniffSnapshot } from '../snapshot/open.js'
import { openInputFiles, openInputSource } from './files.js'
import type { Progress } from './progress.js'

/** Reads a kernel, with progress on a terminal: decompression takes a moment. */
export async function openKernel(name: string, progress: Progress): Promise<Kernel> {
  const source = openInputSource(name)
  const format = await sniffSnapshot(source)
  if (format !== undefined) {
    throw new DomainBuilderError('not-a-kernel', `${name} is a snapshot`, {
      expected: 'a kernel',
      found: SNAPSHOT_FORMATS[format].summary,
    })
  }
  return decoded(name, source, progress)
}

/** Opens a snapshot. @throws DomainBuilderError `unknown-format` for a kernel, and for any other file. */
export async function openDomain(name: string, progress: Progress): Promise<Domain> {
  const found = await openAny(name, progress).catch((error: unknown) => {
    if (!(error instanceof DomainBuilderError) || error.code !== 'not-a-kernel') throw error
    throw new DomainBuilderError('unknown-format', `${name} is not a snapshot`, {
      expected: `a snapshot that build writes (a raw or qemu one needs ${name}.json next to it)`,
      ...defined({ found: error.found }),
      cause: error,
    })
  })
  if ('domain' in found) return found.domain
  throw new DomainBuilderError('unknown-format', `${name} is a kernel`, { expected: 'a snapshot' })
}

/** Before the name or the number of a domain, where a snapshot is taken. A file of that name is `./domain:web`. */
const RUNNING = 'domain:'

/** Opens a kernel or a snapshot, detected by its content. It stays open until the process ends. Captures `domain:NAME`. */
export async function openAny(name: string, progress: Progress): Promise<{ kernel: Kernel } | { domain: Domain }> {
  if (name.startsWith(RUNNING)) {
    const { captureDomain } = await import('./captured.js')
    return captureDomain(name.slice(RUNNING.length), progress)
  }
  const files = await openInputFiles(name)
  if (files.format === undefined) return { kernel: await decoded(name, files.main, progress) }
  const { domain } = await openSnapshotInput(files, {
    onProgress: (part) => progress.say(`decompressing ${name}`, part),
  })
  return { domain }
}

async function decoded(name: string, source: ByteSource, progress: Progress): Promise<Kernel> {
  await refuseForeignSource(source)
  return readKernelSource(source, {
    onProgress: ({ step, ...part }) => {
      if (step === 'decompress') progress.say(`decompressing ${name}`, part)
    },
  })
}
