/**
 * The definition of a snapshot format: one entry of the table in ./formats.ts, filled in by the format's own file.
 *
 * Source: our own design.
 * Gotcha: a format is detected by content alone. Extensions only choose the format of an output.
 */
import type { Domain } from '../guest/domain.js'
import type { Purpose } from '../guest/purpose.js'
import type { Slices, WorkOptions } from '../work.js'
import type { ByteSource } from './byte-source.js'
import type { SnapshotFile } from './snapshot-file.js'

/** The options for writing any format. */
export interface WriteOptions extends WorkOptions {
  /** The name for the first file; the other files mention it. Default "guest". */
  readonly name?: string
}

/** The files of one snapshot, to be read. */
export interface SnapshotSource {
  /** The first file. */
  readonly main: ByteSource
  /** Returns the file named as the first one plus this suffix; undefined where there is no such file. */
  beside(suffix: string): ByteSource | undefined
}

/** A snapshot format. */
export interface SnapshotFormat<Options extends WriteOptions = WriteOptions> {
  /** The format's name. */
  readonly name: string
  /** A description in a few words. */
  readonly summary: string
  /** Extensions of an output's name that choose this format, without the dot. */
  readonly extensions: readonly string[]
  /** Suffixes of its files' names, the first file's first: [''] for a format of one file. */
  readonly files: readonly [string, ...string[]]
  /** The purpose of a guest in this format, where the format decides it; otherwise the type of guest does. */
  readonly purpose?: Purpose
  /** Returns whether the files are of this format. */
  sniff(files: SnapshotSource): boolean
  /**
   * Returns the guest in the files. Pages are read on demand.
   * @throws DomainBuilderError `bad-snapshot`, `truncated` or `unknown-format`.
   */
  open(files: SnapshotSource): Domain
  /**
   * Returns the guest as files, one for each suffix; in slices, if all of the content is read before a size is known.
   * @throws DomainBuilderError for a guest that the format cannot hold, or options that are invalid.
   */
  write(domain: Domain, options?: Options): readonly SnapshotFile[] | Slices<readonly SnapshotFile[]>
}

/** Returns the first bytes of a file: as many as asked for, unless it has fewer. */
export function startOf(source: ByteSource, length: number): Uint8Array {
  const start = new Uint8Array(Math.min(source.size, length))
  source.readInto(0, start)
  return start
}
