/**
 * What a snapshot format is: one entry of the table in ./formats.ts, which a format's own file fills in.
 *
 * Source: our own design.
 * Gotcha: a format is known by content alone. Extensions only say what an output's name asks for.
 */
import type { Domain } from '../guest/domain.js'
import type { Purpose } from '../guest/purpose.js'
import type { WorkOptions } from '../work.js'
import type { SnapshotFile } from './snapshot-file.js'
import type { ByteSource } from './source.js'

/** How every format is written. */
export interface WriteOptions extends WorkOptions {
  /** The name that the first file is to have; the other files mention it. Default "guest". */
  readonly name?: string
}

/** The files of one snapshot, to be read. */
export interface SnapshotSource {
  /** The first file. */
  readonly main: ByteSource
  /** The file whose name is the first one's and this suffix; undefined where there is no such file. */
  beside(suffix: string): ByteSource | undefined
}

/** A snapshot format. */
export interface SnapshotFormat<Options extends WriteOptions = WriteOptions> {
  /** The word for it. */
  readonly name: string
  /** What it is, in a few words. */
  readonly summary: string
  /** Extensions of an output's name that ask for it, without the dot. */
  readonly extensions: readonly string[]
  /** Suffixes of its files' names, the first file's first: [''] for a format of one file. */
  readonly files: readonly [string, ...string[]]
  /** What a guest that is written so is for, where the format says it; the type of guest says it otherwise. */
  readonly purpose?: Purpose
  /** Whether the files are of this format. */
  sniff(files: SnapshotSource): boolean
  /**
   * The guest in the files. Pages are read when somebody looks at them.
   * @throws DomainBuilderError `bad-snapshot`, `truncated` or `unknown-format`.
   */
  open(files: SnapshotSource): Domain
  /**
   * The guest as files, one for each suffix.
   * @throws DomainBuilderError for a guest that the format cannot hold, or options that are invalid.
   */
  write(domain: Domain, options?: Options): readonly SnapshotFile[]
}

/** The first bytes of a file: as many as asked for, unless it has fewer. */
export function startOf(source: ByteSource, length: number): Uint8Array {
  const start = new Uint8Array(Math.min(source.size, length))
  source.readInto(0, start)
  return start
}
