/**
 * Snapshots by the names of their files: opened in place, written whole or not at all.
 *
 * Source: ../snapshot/formats.ts has the number of a format's files, and their suffixes.
 * Gotcha: an opened snapshot reads its pages on demand, so its files stay open until it is closed.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { applyDeltas, type Delta, writeDelta } from '../snapshot/delta.js'
import { formatByExtension, KNOWN_EXTENSIONS, SNAPSHOT_FORMATS, type SnapshotFormatName } from '../snapshot/formats.js'
import { openSnapshot, sniffSnapshot } from '../snapshot/open.js'
import type { SnapshotFile } from '../snapshot/snapshot-file.js'
import { makeSnapshot, snapshotFormat, type WriteOptionsOf } from '../snapshot/write.js'
import type { WorkOptions } from '../work.js'
import { gzipped } from './gzip.js'
import { type Input, openInput } from './input.js'
import { type OutputOptions, writeFiles } from './output.js'
import { type FileScratch, scratchFile } from './scratch-file.js'
import { writePieces } from './writer.js'

/** The suffixes of a snapshot's further files. */
const SUFFIXES = [...new Set(Object.values(SNAPSHOT_FORMATS).flatMap(({ files }) => files.slice(1)))]

/** The open files of a possible snapshot. */
export interface InputFiles {
  readonly main: Input
  readonly beside: Readonly<Record<string, Input>>
  /** The format's name; undefined for a file that is not a snapshot. */
  readonly format: SnapshotFormatName | undefined
  close(): void
}

/**
 * Opens a file and those next to it that belong to a snapshot. The name may be that of any of a snapshot's files.
 * @throws DomainBuilderError `cannot-read`.
 */
export async function openFiles(name: string): Promise<InputFiles> {
  const files = await openAs(name)
  if (files.format !== undefined) return files
  const suffix = SUFFIXES.find((end) => name.endsWith(end) && fs.existsSync(name.slice(0, -end.length)))
  if (suffix === undefined) return files
  const others = await openAs(name.slice(0, -suffix.length))
  const isMember = others.format !== undefined && suffix in others.beside
  ;(isMember ? files : others).close()
  return isMember ? others : files
}

async function openAs(name: string): Promise<InputFiles> {
  const opened: Input[] = []
  const open = (file: string): Input => {
    const input = openInput(file)
    opened.push(input)
    return input
  }
  const close = () => {
    for (const input of opened.splice(0)) input.close()
  }
  try {
    const main = open(name)
    const found = SUFFIXES.filter((suffix) => fs.statSync(name + suffix, { throwIfNoEntry: false })?.isFile())
    const beside = Object.fromEntries(found.map((suffix) => [suffix, open(name + suffix)]))
    return { main, beside, format: await sniffSnapshot(main, { beside }), close }
  } catch (error) {
    close()
    throw error
  }
}

/** The options for opening a snapshot. */
export interface OpenFileOptions extends WorkOptions {
  /** Names of deltas to apply to it, in this order. */
  readonly apply?: readonly string[]
}

/** An open snapshot. */
export interface OpenedSnapshot {
  /** The guest. Its pages are read from the files on demand. */
  readonly domain: Domain
  /** The detected format of the file. */
  readonly format: SnapshotFormatName
  /** Closes the files. Pages that were not read before are then refused as `cannot-read`. */
  close(): void
}

/**
 * Opens a snapshot by the name of its file, or of any of its files.
 * @param options `signal` and `onProgress` are about decompressing it and about applying deltas.
 * @throws DomainBuilderError `cannot-read`, `unknown-format`, and the errors of openSnapshot() and applyDeltas(); the
 *   signal's reason.
 * @example
 * ```ts
 * const snapshot = await openSnapshotFile('guest.xl')
 * console.log(snapshot.format, snapshot.domain.name)
 * snapshot.close()
 * ```
 */
export async function openSnapshotFile(name: string, options: OpenFileOptions = {}): Promise<OpenedSnapshot> {
  const { apply = [], ...work } = options
  const files = await openFiles(name)
  const deltas: Input[] = []
  try {
    for (const delta of apply) deltas.push(openInput(delta))
  } catch (error) {
    for (const open of [files, ...deltas]) open.close()
    throw error
  }
  return openInputFiles(files, work, deltas)
}

/**
 * Opens the guest in open files, with deltas applied to it. The files are closed on failure.
 * @param deltas closed with the snapshot.
 */
export async function openInputFiles(
  files: InputFiles,
  options: WorkOptions,
  deltas: readonly Input[] = [],
): Promise<OpenedSnapshot> {
  const { main, beside, format } = files
  const scratches: FileScratch[] = []
  const newScratch = () => {
    const scratch = scratchFile()
    scratches.push(scratch)
    return scratch
  }
  const close = () => {
    for (const open of [files, ...deltas, ...scratches]) open.close()
  }
  try {
    const opened = await openSnapshot(main, { ...options, beside, scratch: newScratch() })
    const domain = await applyDeltas(opened, deltas, { ...options, scratch: newScratch })
    return { domain, format: format as SnapshotFormatName, close }
  } catch (error) {
    close()
    throw error
  }
}

/** The options for writing a snapshot to files. */
export type WriteFileOptions<F extends SnapshotFormatName = SnapshotFormatName> = Omit<WriteOptionsOf<F>, 'name'> &
  Pick<OutputOptions, 'keep'> & {
    /** Default: the format that the name's extension chooses. */
    readonly format?: F
    /** Compresses a format of one file. Default: `gzip` for a name that ends in `.gz`. */
    readonly compress?: 'gzip'
  }

/** The files that were written. */
export interface WrittenSnapshot {
  readonly format: SnapshotFormatName
  /** Their names, the main file first. */
  readonly files: readonly string[]
}

/**
 * Writes a snapshot to files that appear whole, all together, or not at all.
 * @param name of the main file; the others' names begin with it.
 * @throws DomainBuilderError `bad-config` without a format, or for one that cannot be compressed; `cannot-write`; the
 *   errors of writeSnapshot(); the signal's reason. All of the files are then removed.
 * @example
 * ```ts
 * await writeSnapshotFile(guest, 'guest.xl', { signal, onProgress: ({ done, total }) => bar(done / total) })
 * ```
 */
export async function writeSnapshotFile<F extends SnapshotFormatName>(
  domain: Domain,
  name: string,
  options: WriteFileOptions<F> = {} as WriteFileOptions<F>,
): Promise<WrittenSnapshot> {
  const { format: asked, compress, keep = [], ...rest } = options as WriteFileOptions
  const format = asked ?? requireExtension(name)
  const isCompressed = requireCompression(compress, format, name)
  const snapshot = await makeSnapshot(domain, format, { ...rest, name: path.basename(name) })
  return { format, files: await writeAll(snapshot, name, isCompressed, defined({ keep, signal: rest.signal })) }
}

/** Writes the files of a snapshot. Returns their names. */
async function writeAll(
  snapshot: readonly SnapshotFile[],
  name: string,
  isCompressed: boolean,
  options: OutputOptions,
): Promise<readonly string[]> {
  const files = snapshot.map(({ suffix }) => name + suffix)
  const write = isCompressed ? writeCompressed : writeSparse
  await writeFiles(
    files,
    async (outputs) => {
      for (const [i, { fd, truncate }] of outputs.entries()) await write(fd, truncate, snapshot[i] as SnapshotFile)
    },
    options,
  )
  return files
}

/**
 * Writes the difference between two guests to a file that appears whole or not at all. A name that ends in `.gz`
 * compresses it.
 * @param base the guest that the delta will be applied to.
 * @returns what writeDelta() returns.
 * @throws DomainBuilderError `cannot-write`, and the errors of writeDelta(); the signal's reason.
 * @example
 * ```ts
 * const [base, guest] = [await openSnapshotFile('base.img'), await openSnapshotFile('guest.xl')]
 * await writeDeltaFile(base.domain, guest.domain, 'guest.delta')
 * const again = await openSnapshotFile('base.img', { apply: ['guest.delta'] })
 * ```
 */
export async function writeDeltaFile(
  base: Domain,
  guest: Domain,
  name: string,
  options: WorkOptions & Pick<OutputOptions, 'keep'> = {},
): Promise<Delta> {
  const { keep = [], ...work } = options
  requireWritten(name)
  const delta = await writeDelta(base, guest, work)
  await writeAll([delta.file], name, name.endsWith('.gz'), defined({ keep, signal: work.signal }))
  return delta
}

async function writeSparse(fd: number, truncate: (size: number) => void, file: SnapshotFile): Promise<void> {
  truncate(file.size)
  await writePieces(fd, (nextBlock) => file.pieces(nextBlock))
}

async function writeCompressed(fd: number, _truncate: unknown, file: SnapshotFile): Promise<void> {
  await writePieces(fd, () => placed(gzipped(file)))
}

async function* placed(chunks: AsyncIterable<Uint8Array>) {
  let offset = 0
  for await (const bytes of chunks) {
    yield { offset, bytes }
    offset += bytes.length
  }
}

/** @throws DomainBuilderError `bad-config` for an extension of a compression that is only read. */
export function requireWritten(name: string): void {
  if (!name.endsWith('.zst')) return
  throw new DomainBuilderError('bad-config', 'zstd output is not supported', {
    expected: '.gz, or a pipe through zstd(1)',
    found: path.basename(name),
  })
}

/** @throws DomainBuilderError `bad-config` for an extension that chooses no format. */
function requireExtension(name: string): SnapshotFormatName {
  requireWritten(name)
  const format = formatByExtension(name)
  if (format !== undefined) return format
  throw new DomainBuilderError('bad-config', `the extension of ${name} is unknown`, {
    expected: `${KNOWN_EXTENSIONS.join(', ')}, or a format`,
  })
}

/**
 * Returns whether to compress a snapshot: because that is asked for, or because of its name.
 * @throws DomainBuilderError `bad-config` for an unsupported compression, or a format of several files.
 */
export function requireCompression(asked: string | undefined, format: SnapshotFormatName, name: string): boolean {
  const refuse = (what: string, expected: string): never => {
    throw new DomainBuilderError('bad-config', what, { expected })
  }
  if (asked !== undefined && asked !== 'gzip') refuse(`compression '${asked}' is unknown`, 'gzip')
  requireWritten(name)
  const isCompressed = asked !== undefined || name.endsWith('.gz')
  const { files } = snapshotFormat(format)
  if (isCompressed && files.length > 1)
    refuse(`compression is invalid for ${format}, which is ${files.length} files`, 'one file')
  return isCompressed
}
