/**
 * openSnapshot: a guest out of a file, whichever format it is in.
 *
 * Source: the first bytes of each format; see the files beside this one.
 * Gotcha: a raw image has no magic of its own: it is opened by its sidecar, with openRaw.
 */
import { XL_MAGIC } from '../abi/save-stream.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { WorkOptions } from '../work.js'
import { decompressInto, peekCompressed, sniffCompression } from './compressed.js'
import { openElfCore } from './elf-core.js'
import { isCore } from './elf-file.js'
import { isKexec, KEXEC_SNIFFED, openKexec } from './kexec.js'
import { memoryScratch, type Scratch } from './scratch.js'
import { type ByteSource, bytesSource } from './source.js'
import { isXenCore, openXenCore } from './xen-core.js'
import { isXl, openXl } from './xen-save.js'

/** Bytes by which a format is known. */
const SNIFFED = Math.max(XL_MAGIC.length, KEXEC_SNIFFED)

/** The formats that are one file and know themselves. */
export type SnapshotFormat = 'xl' | 'xen-core' | 'elf-core' | 'kexec'

const OPEN: Readonly<Record<SnapshotFormat, (source: ByteSource) => Domain>> = {
  xl: openXl,
  'xen-core': openXenCore,
  'elf-core': openElfCore,
  kexec: openKexec,
}

function formatOf(source: ByteSource): SnapshotFormat | undefined {
  const start = new Uint8Array(Math.min(source.size, SNIFFED))
  source.readInto(0, start)
  if (isXl(start)) return 'xl'
  if (isCore(start)) return isXenCore(source) ? 'xen-core' : 'elf-core'
  return isKexec(start) ? 'kexec' : undefined
}

/** Whoever writes no TypeScript hands in the bytes themselves. */
function requireSource(source: ByteSource): void {
  if (typeof source?.size === 'number' && typeof source.readInto === 'function') return
  throw new DomainBuilderError('bad-config', 'a snapshot is opened from a ByteSource', {
    expected: 'size and readInto(), such as bytesSource(bytes) has',
    found: source instanceof Uint8Array ? 'a Uint8Array' : typeof source,
  })
}

/** The name of a file's format, compressed or not; undefined when it is none of ours, or damaged where it begins. */
export async function sniffSnapshot(source: ByteSource): Promise<SnapshotFormat | undefined> {
  requireSource(source)
  const compression = sniffCompression(source)
  if (compression === undefined) return formatOf(source)
  try {
    return formatOf(bytesSource(await peekCompressed(source, compression, SNIFFED)))
  } catch (error) {
    if (error instanceof DomainBuilderError) return undefined
    throw error
  }
}

/** How a snapshot is opened; `signal` and `onProgress` are about decompressing it, in bytes of the compressed file. */
export interface OpenOptions extends WorkOptions {
  /** Where what a compressed snapshot holds is kept. Default: in memory, at most 2 GiB of it. */
  readonly scratch?: Scratch
}

/**
 * Opens a snapshot, compressed by gzip, by zstd or not at all; pages are read when somebody looks at them.
 * @throws DomainBuilderError `bad-config` for what is no source, `unknown-format`, `payload-damaged` or `payload-too-large` where it is compressed, or
 * whatever the format's reader has to say of the file; the signal's reason.
 */
export async function openSnapshot(source: ByteSource, options: OpenOptions = {}): Promise<Domain> {
  requireSource(source)
  const compression = sniffCompression(source)
  if (compression === undefined) return openPlain(source)
  const scratch = options.scratch ?? memoryScratch()
  return openPlain(await decompressInto(source, compression, scratch, options))
}

/** As openSnapshot(), of a file that is not compressed: no waiting. */
export function openPlain(source: ByteSource): Domain {
  const format = formatOf(source)
  if (format !== undefined) return OPEN[format](source)
  throw new DomainBuilderError('unknown-format', 'no snapshot that we know', {
    expected: 'a save file of xl, a core of xl dump-core, an ELF core, or kexec segments',
    found: `${source.size} bytes of something else`,
    offset: 0,
  })
}
