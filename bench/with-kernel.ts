/**
 * withKernel: the kernel of a benchmark, and a folder for its files that is removed afterwards.
 *
 * Source: the first argument of the command, else the kernel of Debian that `npm run kernels` fetches.
 * Gotcha: the files are large, up to 2 GiB together, and TMPDIR must have room for them.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { readKernel } from '../lib/index.js'
import { kernel as fetched } from '../test/peer/kernels.js'

/** Runs `act` with the bytes of the kernel's ELF, and a function that returns the name of a file in the folder. */
export async function withKernel(act: (elf: Uint8Array, file: (name: string) => string) => unknown): Promise<void> {
  const given = process.argv[2] ?? fetched('debian-amd64')
  if (given === undefined) throw new Error('no kernel: name one, or fetch them with npm run kernels')
  const folder = mkdtempSync(path.join(process.env.TMPDIR ?? tmpdir(), 'xdb-bench-'))
  try {
    const { elf } = await readKernel(readFileSync(given))
    if (!elf) throw new Error('the kernel holds no ELF')
    await act(elf.bytes, (name) => path.join(folder, name))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
