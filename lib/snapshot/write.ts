/**
 * writeSnapshot: a guest as the files of any format.
 *
 * Source: ./formats.ts.
 * Gotcha: nothing is written here. The files' bytes are made when a caller iterates over them.
 */
import { didYouMean } from '../closest.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { atOnce, doSlices } from '../work.js'
import type { SnapshotFormat, WriteOptions } from './format.js'
import { SNAPSHOT_FORMAT_NAMES, SNAPSHOT_FORMATS, type SnapshotFormatName } from './formats.js'
import type { SnapshotFile } from './snapshot-file.js'

/** The options of a format for writing a guest. */
export type WriteOptionsOf<F extends SnapshotFormatName> = NonNullable<
  Parameters<(typeof SNAPSHOT_FORMATS)[F]['write']>[1]
>

/**
 * Returns a guest as a snapshot: one file for each of the format's suffixes, the main file first.
 * @param options `name`, `signal` and `onProgress`; for `xl` also `xen`, `version` and `uuid`.
 * @throws DomainBuilderError `bad-config` for an unknown format or invalid options, and the errors of the format's
 *   writer.
 * @example
 * ```ts
 * for (const file of writeSnapshot(guest, 'raw', { name: 'guest.img' })) {
 *   await writeFile(`guest.img${file.suffix}`, file) // guest.img, guest.img.json
 * }
 * ```
 */
export function writeSnapshot<F extends SnapshotFormatName>(
  domain: Domain,
  format: F,
  options?: WriteOptionsOf<F>,
): readonly SnapshotFile[] {
  const made = snapshotFormat(format).write(domain, options)
  return 'next' in made ? atOnce(made) : made
}

/**
 * Returns the same as writeSnapshot(), and yields to the event loop where all of the content is read first.
 * @throws DomainBuilderError as writeSnapshot() does; the signal's reason.
 */
export async function makeSnapshot<F extends SnapshotFormatName>(
  domain: Domain,
  format: F,
  options?: WriteOptionsOf<F>,
): Promise<readonly SnapshotFile[]> {
  const made = snapshotFormat(format).write(domain, options)
  return 'next' in made ? doSlices(made, defined({ signal: options?.signal })) : made
}

/** Returns the entry of that name. @throws DomainBuilderError `bad-config` for a name that is not in the table. */
export function snapshotFormat(name: string): SnapshotFormat<WriteOptions> {
  if (Object.hasOwn(SNAPSHOT_FORMATS, name)) return SNAPSHOT_FORMATS[name as SnapshotFormatName]
  throw new DomainBuilderError(
    'bad-config',
    `snapshot format is unknown${didYouMean(String(name), SNAPSHOT_FORMAT_NAMES)}`,
    {
      expected: SNAPSHOT_FORMAT_NAMES.join(', '),
      found: `'${String(name)}'`,
    },
  )
}
