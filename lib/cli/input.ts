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
import { isText } from '../kernel/lookalike.js'
import { scratchFile } from '../node/scratch-file.js'
import { openInputFiles as openSnapshotInput } from '../node/snapshot-files.js'
import type { ByteSource } from '../snapshot/byte-source.js'
import { applyDeltas } from '../snapshot/delta.js'
import { startOf } from '../snapshot/format.js'
import { SNAPSHOT_FORMATS } from '../snapshot/formats.js'
import { readKernelSource } from '../snapshot/kernel-source.js'
import { refuseForeignSource, sniffSnapshot } from '../snapshot/open.js'
import { PAGE_SIZE } from '../units.js'
import type { Part } from '../work.js'
import { exists, openInputFiles, openInputSource } from './files.js'
import type { Progress } from './progress.js'

/** Returns whether a file is text, as no kernel and no snapshot is. */
export function isTextFile(name: string): boolean {
  const source = openInputSource(name)
  try {
    return isText(startOf(source, PAGE_SIZE))
  } finally {
    source.close()
  }
}

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

/**
 * Opens a snapshot.
 * @param deltas names of deltas to apply to it.
 * @throws DomainBuilderError `unknown-format` for a kernel, and for any other file.
 */
export async function openDomain(name: string, progress: Progress, deltas: readonly string[] = []): Promise<Domain> {
  const found = await openAny(name, progress, deltas).catch((error: unknown) => {
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

/** Between a snapshot and a delta to apply to it. A file whose own name has it is taken first. */
const APPLIED = '+'

/** Returns the name of a snapshot and those of its deltas. */
function chainOf(name: string): readonly string[] {
  const at = name.lastIndexOf(APPLIED)
  return at <= 0 || exists(name) ? [name] : [...chainOf(name.slice(0, at)), name.slice(at + 1)]
}

/**
 * Opens a kernel or a snapshot, detected by its content. It stays open until the process ends. Captures `domain:NAME`,
 * and applies the deltas of `BASE+DELTA`.
 */
export async function openAny(
  given: string,
  progress: Progress,
  applied: readonly string[] = [],
): Promise<{ kernel: Kernel } | { domain: Domain }> {
  const [name = '', ...chain] = chainOf(given)
  const deltas = [...chain, ...applied]
  const onProgress = (part: Part) => progress.say(`reading ${given}`, part)
  if (name.startsWith(RUNNING)) {
    const { captureDomain } = await import('./captured.js')
    const { domain } = await captureDomain(name.slice(RUNNING.length), progress)
    return { domain: await applyDeltas(domain, deltas.map(openInputSource), { onProgress, scratch: scratchFile }) }
  }
  const files = await openInputFiles(name)
  if (files.format === undefined) {
    const kernel = await decoded(name, files.main, progress)
    if (deltas.length === 0) return { kernel }
    throw new DomainBuilderError('unknown-format', `${name} is a kernel`, { expected: 'a snapshot to apply deltas to' })
  }
  const { domain } = await openSnapshotInput(files, { onProgress }, deltas.map(openInputSource))
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
