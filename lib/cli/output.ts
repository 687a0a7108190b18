/**
 * The output of a snapshot by a command: its options, and the file or standard output that it goes to.
 *
 * Source: ../snapshot/formats.ts; ../node/snapshot-files.ts.
 * Gotcha: a format of several files needs a name; a format of one file may go into a pipe.
 */
import type { QemuMachineName } from '../abi/qemu-machines.js'
import { NEWEST_XEN, XEN_RELEASES, type XenRelease } from '../abi/xen-release.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { gzipped } from '../node/gzip.js'
import { requireCompression, requireWritten, writeSnapshotFile } from '../node/snapshot-files.js'
import {
  extensionOf,
  formatByExtension,
  KNOWN_EXTENSIONS,
  SNAPSHOT_FORMAT_NAMES,
  SNAPSHOT_FORMATS,
  type SnapshotFormatName,
} from '../snapshot/formats.js'
import { LIBVIRT_MACHINES } from '../snapshot/libvirt-save.js'
import { DEFAULT_MACHINE, QEMU_MACHINE_NAMES } from '../snapshot/qemu-machine.js'
import { makeSnapshot } from '../snapshot/write.js'
import { type Option, oneOf, text, UsageError, type Values } from './command.js'
import { inputNames, notWritten, takeStandardOutput, writeStandardOutput } from './files.js'
import type { Progress } from './progress.js'
import { stoppable } from './stoppable.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

/** The place of a snapshot, its format and its compression. */
export interface Destination {
  readonly output: string
  readonly format: SnapshotFormatName
  readonly compress: boolean
  /** The release of Xen that --xen names. */
  readonly xen?: XenRelease
  /** The machine that --machine names. */
  readonly machine?: QemuMachineName
  /** The option --symbols. */
  readonly symbols?: string
}

/** The options of a command that writes a snapshot. */
export const outputOptions = {
  output: {
    type: 'string',
    short: 'o',
    value: 'FILE',
    elsewhere: ['out', 'outfile', 'output-file'],
    help: `the snapshot, - for standard output; ${severalFiles()}`,
  },
  format: {
    type: 'string',
    value: 'FORMAT',
    elsewhere: ['output-format', 'O', 'fmt', 'to'],
    choices: SNAPSHOT_FORMAT_NAMES,
    help: `(default by OUT's extension: ${extensions()})`,
  },
  compress: {
    type: 'string',
    value: 'HOW',
    choices: ['gzip'],
    help: '(or a name that ends in .gz); for a format that is one file',
  },
  symbols: { ...symbolsOption.symbols, help: `for elf-core, ${symbolsOption.symbols.help}` },
} as const satisfies Readonly<Record<string, Option>>

/** The option of a command that can write for a machine of QEMU. */
export const machineOption = {
  type: 'string',
  value: 'MACHINE',
  choices: QEMU_MACHINE_NAMES,
  elsewhere: ['M', 'machine-type'],
  help: `QEMU's machine that a qemu-stream (default ${DEFAULT_MACHINE}) or libvirt (default ${LIBVIRT_MACHINES[0]}) is for`,
} as const satisfies Option

/** The option of a command that can write for an older Xen. */
export const xenOption = {
  type: 'string',
  value: 'VERSION',
  choices: XEN_RELEASES,
  elsewhere: ['xen-version', 'xen-release'],
  help: `the release of Xen that the guest is for (default the newest, ${NEWEST_XEN})`,
} as const satisfies Option

function severalFiles(): string {
  return Object.values(SNAPSHOT_FORMATS)
    .filter(({ files }) => files.length > 1)
    .map(({ name, files }) => `${name} writes ${files.map((suffix) => `FILE${suffix}`).join(', ')}`)
    .join('; ')
}

function extensions(): string {
  return Object.values(SNAPSHOT_FORMATS)
    .flatMap(({ name, extensions: known }) => known.map((extension) => `.${extension} ${name}`))
    .join(', ')
}

/**
 * Returns the destination that the options describe.
 * @param otherwise the format of an output without extension, if the command has a default.
 * @throws UsageError for a missing output, an extension that chooses no format, several files into one pipe, and an
 *   unsupported compression. Also for standard output that is a terminal or for JSON.
 */
export function readDestination(command: string, values: Values, otherwise?: SnapshotFormatName): Destination {
  const output = text(values, 'output')
  if (!output) throw new UsageError(`${command} needs -o FILE`)
  usage(() => requireWritten(output))
  const format =
    formatAsked(values) ?? formatByExtension(output) ?? (extensionOf(output) === '' ? otherwise : undefined)
  if (format === undefined) {
    throw new UsageError(
      `the format of '${output}' is unknown: give --format (${SNAPSHOT_FORMAT_NAMES.join(', ')}), ` +
        `or an extension (${KNOWN_EXTENSIONS.join(', ')})`,
    )
  }
  const { files } = SNAPSHOT_FORMATS[format]
  if (output === '-' && files.length > 1) throw new UsageError(`${format} is ${files.length} files: -o needs a name`)
  const machine = oneOf(values, 'machine', QEMU_MACHINE_NAMES)
  if (machine !== undefined && format !== 'qemu-stream' && format !== 'libvirt') {
    throw new UsageError(`--machine is for the formats qemu-stream and libvirt; this output is ${format}`)
  }
  const symbols = text(values, 'symbols')
  if (symbols !== undefined && format !== 'elf-core') {
    throw new UsageError(`--symbols is for the format elf-core; this output is ${format}`)
  }
  takeStandardOutput(output, 'a snapshot', values.json === true)
  const compress = usage(() => requireCompression(text(values, 'compress'), format, output))
  return defined({ output, format, compress, machine, symbols, xen: oneOf(values, 'xen', XEN_RELEASES) })
}

const formatAsked = (values: Values): SnapshotFormatName | undefined =>
  SNAPSHOT_FORMAT_NAMES.find((name) => name === text(values, 'format'))

/** Turns the error of an invalid option into a usage error. */
function usage<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    throw error instanceof DomainBuilderError ? new UsageError(error.message) : error
  }
}

/** @throws DomainBuilderError `cannot-write`, or the format's own error; all of the files are then removed. */
export async function writeDestination(
  domain: Domain,
  { output, format, compress, xen, machine, symbols: symbolsFile }: Destination,
  progress: Progress,
): Promise<void> {
  // Only a save file names the Xen that reads it, and only a stream the machine of QEMU.
  const release = format === 'xl' ? defined({ xen }) : defined({ machine })
  const symbols = format === 'elf-core' ? await symbolsOf({ symbols: symbolsFile }, domain, progress) : undefined
  const given = { ...release, ...defined({ symbols }) }
  const onProgress = (part: { done: number; total: number }) => progress.say(`writing ${output}`, part)
  if (output === '-') {
    const [file] = await makeSnapshot(domain, format, { ...given, onProgress })
    if (file) await writeStandardOutput(compress ? gzipped(file) : file)
    return
  }
  const how = compress ? ({ compress: 'gzip' } as const) : {}
  await stoppable(notWritten([output]), (signal) =>
    writeSnapshotFile(domain, output, { format, ...how, ...given, keep: inputNames(), signal, onProgress }),
  )
}
