/**
 * Writes a snapshot in any format: to a file that appears whole or not at all, or to standard output.
 *
 * Source: ../snapshot holds one writer for each format.
 * Gotcha: raw is two files, so it needs a name; everything else is one stream and may go into a pipe.
 */
import * as path from 'node:path'
import type { Domain } from '../guest/domain.js'
import { writeElfCore } from '../snapshot/elf-core.js'
import { rawSidecar } from '../snapshot/raw.js'
import { writeXenCore } from '../snapshot/xen-core.js'
import { writeXl } from '../snapshot/xen-save.js'
import { PAGE_SIZE } from '../units.js'
import { UsageError } from './command.js'
import { breathe, writeOutputs, writeStandardOutput } from './files.js'
import type { Progress } from './progress.js'

/** Formats that are one stream of bytes. */
const STREAMS = {
  xl: (domain: Domain) => writeXl(domain),
  'xen-core': writeXenCore,
  'elf-core': writeElfCore,
} as const
export const FORMATS = ['raw', ...(Object.keys(STREAMS) as (keyof typeof STREAMS)[])] as const
export type Format = (typeof FORMATS)[number]

/** @throws DomainBuilderError `cannot-write`, or the format's own refusal; nothing is left behind then. */
export async function writeSnapshot(domain: Domain, format: Format, output: string, progress: Progress): Promise<void> {
  if (format === 'raw') {
    if (output === '-') throw new UsageError('raw is two files: -o needs a name')
    return writeRaw(domain, output, progress)
  }
  const chunks = STREAMS[format](domain)
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
  const total = domain.memory.endPfn * PAGE_SIZE
  const sidecar = rawSidecar(domain, path.basename(output))
  await writeOutputs([output, `${output}.json`], async ([image, json]) => {
    image?.truncate(total)
    for (const { paddr, bytes } of domain.memory.chunks()) {
      image?.writeAt(bytes, paddr)
      progress.say(`writing ${output}`, { done: paddr, total })
      await breathe()
    }
    json?.writeAt(Buffer.from(`${JSON.stringify(sidecar, null, 1)}\n`), 0)
  })
}
