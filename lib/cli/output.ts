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
import { type Option, UsageError } from './command.js'
import { breathe, writeOutputs, writeStandardOutput } from './files.js'
import type { Progress } from './progress.js'

/** Formats that are one stream of bytes. */
const STREAMS = {
  xl: (domain: Domain) => writeXl(domain),
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

/** What a name's ending says that the file is to be. */
const BY_ENDING: Readonly<Record<string, Format>> = {
  img: 'raw',
  xl: 'xl',
  save: 'xl',
  core: 'elf-core',
  kexec: 'kexec',
}

/** The endings, as --help lists them. */
export const ENDINGS = Object.entries(BY_ENDING)
  .map(([ending, format]) => `.${ending} ${format}`)
  .join(', ')

/** The format that an output's name says, whether or not it is compressed; undefined where it says none. */
export function formatByName(output: string): Format | undefined {
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
 * @throws UsageError for a compression we do not write, or a format of several files.
 */
export function compressionOf(asked: string | undefined, format: Format, output: string): boolean {
  if (output.endsWith('.zst')) throw new UsageError('zstd is read, not written; use .gz, or pipe through zstd(1)')
  if (asked !== undefined && asked !== 'gzip') throw new UsageError(`--compress is gzip; not '${asked}'`)
  const compress = asked === 'gzip' || output.endsWith('.gz')
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
  const chunks = compress ? gzipped(STREAMS[format](domain)) : STREAMS[format](domain)
  if (output === '-') return writeStandardOutput(chunks)
  await writeOutputs([output], async ([file]) => {
    let done = 0
    for (const chunk of chunks) {
      file?.writeAt(chunk, done)
      done += chunk.length
      progress.say(`writing ${output}, ${Math.floor(done / 2 ** 20)} MiB`)
      await breathe()
    }
  })
}

/** The image, sparse, and its sidecar. */
async function writeRaw(domain: Domain, output: string, progress: Progress): Promise<void> {
  const total = [...domain.memory.pages()].reduce((sum, { pages }) => sum + pages * PAGE_SIZE, 0)
  const sidecar = rawSidecar(domain, path.basename(output))
  await writeOutputs([output, `${output}.json`], async ([image, json]) => {
    image?.truncate(domain.memory.endPfn * PAGE_SIZE)
    let done = 0
    for (const { paddr, bytes } of domain.memory.chunks()) {
      image?.writeAt(bytes, paddr)
      done += bytes.length
      progress.say(`writing ${output}`, { done, total })
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
    for (const { offset, bytes } of snapshot.pieces()) {
      memory?.writeAt(bytes, offset)
      progress.say(`writing ${output}`, { done: offset, total: snapshot.size })
      await breathe()
    }
    rom?.writeAt(snapshot.rom, 0)
    json?.writeAt(sidecarText(snapshot.sidecar), 0)
  })
}

const sidecarText = (sidecar: unknown): Uint8Array => Buffer.from(`${JSON.stringify(sidecar, null, 1)}\n`)
