/**
 * Writes a snapshot in any format: to a file that appears whole or not at all, or to standard output.
 *
 * Source: ../snapshot holds one writer for each format.
 * Gotcha: raw and qemu are several files, so they need a name; everything else is one stream and may go into a pipe.
 */
import * as path from 'node:path'
import type { Domain } from '../guest/domain.js'
import { gzipped } from '../snapshot/compressed.js'
import { writeElfCore } from '../snapshot/elf-core.js'
import { writeKexec } from '../snapshot/kexec.js'
import { qemuSnapshot } from '../snapshot/qemu.js'
import { rawSidecar } from '../snapshot/raw.js'
import { writeXenCore } from '../snapshot/xen-core.js'
import { writeXl } from '../snapshot/xen-save.js'
import { PAGE_SIZE } from '../units.js'
import { breathe, type Part, type WorkOptions } from '../work.js'
import { type Option, oneOf, text, UsageError, type Values } from './command.js'
import { writeOutputs, writeStandardOutput } from './files.js'
import type { Progress } from './progress.js'

/** Formats that are one stream of bytes. */
const STREAMS = {
  xl: (domain: Domain, options: WorkOptions) => writeXl(domain, options),
  'xen-core': writeXenCore,
  'elf-core': writeElfCore,
  kexec: writeKexec,
} as const
/** Formats that are several files, and how many. */
const FILES = { raw: 2, qemu: 3 } as const

export const FORMATS = [
  ...(Object.keys(FILES) as (keyof typeof FILES)[]),
  ...(Object.keys(STREAMS) as (keyof typeof STREAMS)[]),
] as const
export type Format = (typeof FORMATS)[number]

/** What an output's ending says of its format. */
const BY_ENDING: Readonly<Record<string, Format>> = {
  img: 'raw',
  xl: 'xl',
  save: 'xl',
  core: 'elf-core',
  kexec: 'kexec',
}

/** --format of a command that writes a snapshot; `otherwise` is what any other ending means, if it means anything. */
export const formatOption = (otherwise?: Format) =>
  ({
    type: 'string',
    value: 'FORMAT',
    choices: FORMATS,
    elsewhere: ['output-format', 'O', 'fmt', 'to'],
    help: `(default by OUT's ending: ${[
      ...Object.entries(BY_ENDING).map(([ending, format]) => `.${ending} ${format}`),
      ...(otherwise ? [`any other ${otherwise}`] : []),
    ].join(', ')})`,
  }) as const satisfies Option

/** The format asked for, or else the one that the output's name says, if it says one. */
export function formatFor(values: Values, output: string): Format | undefined {
  if (text(values, 'format') !== undefined) return oneOf(values, 'format', FORMATS, 'raw')
  const ending = /\.([a-z]+)(?:\.gz)?$/.exec(output)?.[1] ?? ''
  return Object.hasOwn(BY_ENDING, ending) ? BY_ENDING[ending] : undefined
}

/** --compress of every command that writes a snapshot. */
export const compressOption = {
  type: 'string',
  value: 'HOW',
  choices: ['gzip'],
  help: '(or a name that ends in .gz); for a format that is one file',
} as const satisfies Option

/** How many files a snapshot of that format is; only one that is a single file can go into a pipe. */
export const filesOf = (format: Format): number => (format in FILES ? FILES[format as keyof typeof FILES] : 1)

/**
 * Whether a snapshot is to be compressed: because it was asked for, or because the output's name says so.
 * @throws UsageError for a name that ends in a compression we do not write, or a format of several files.
 */
export function compressionOf(asked: string | undefined, format: Format, output: string): boolean {
  if (output.endsWith('.zst')) throw new UsageError('zstd is read, not written; use .gz, or pipe through zstd(1)')
  const compress = asked !== undefined || output.endsWith('.gz')
  if (compress && filesOf(format) > 1) throw new UsageError(`${format} is several files, which are not compressed`)
  return compress
}

/** @throws DomainBuilderError `cannot-write`, or the format's own refusal; nothing is left behind then. */
export async function writeSnapshot(
  domain: Domain,
  format: Format,
  output: string,
  progress: Progress,
  compress = false,
): Promise<void> {
  if (format === 'raw') return writeRaw(domain, output, progress)
  if (format === 'qemu') return writeQemu(domain, output, progress)
  const stream = STREAMS[format](domain, { onProgress: (part) => progress.say(`writing ${output}`, part) })
  const chunks = compress ? gzipped(stream) : stream
  if (output === '-') return writeStandardOutput(chunks)
  await writeOutputs([output], async ([file]) => {
    let done = 0
    for (const chunk of chunks) {
      file?.writeAt(chunk, done)
      done += chunk.length
      await breathe()
    }
  })
}

/** The image, sparse, and its sidecar. */
async function writeRaw(domain: Domain, output: string, progress: Progress): Promise<void> {
  const sidecar = rawSidecar(domain, path.basename(output))
  await writeOutputs([output, `${output}.json`], async ([image, json]) => {
    image?.truncate(domain.memory.endPfn * PAGE_SIZE)
    const onProgress = (part: Part) => progress.say(`writing ${output}`, part)
    for (const { paddr, bytes } of domain.memory.chunks({ onProgress })) {
      image?.writeAt(bytes, paddr)
      await breathe()
    }
    json?.writeAt(sidecarText(sidecar), 0)
  })
}

/** Memory, ROM and sidecar for QEMU. */
async function writeQemu(domain: Domain, output: string, progress: Progress): Promise<void> {
  const snapshot = qemuSnapshot(domain, path.basename(output))
  await writeOutputs([output, `${output}.rom`, `${output}.json`], async ([memory, rom, json]) => {
    memory?.truncate(snapshot.size)
    const onProgress = (part: Part) => progress.say(`writing ${output}`, part)
    for (const { offset, bytes } of snapshot.pieces({ onProgress })) {
      memory?.writeAt(bytes, offset)
      await breathe()
    }
    rom?.writeAt(snapshot.rom, 0)
    json?.writeAt(sidecarText(snapshot.sidecar), 0)
  })
}

const sidecarText = (sidecar: unknown): Uint8Array => Buffer.from(`${JSON.stringify(sidecar, null, 1)}\n`)
