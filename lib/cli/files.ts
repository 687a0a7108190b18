/**
 * The files of a command: its inputs and its outputs, including `-` for standard input and output.
 *
 * Source: ../node does the work; this adds the conventions of a command line.
 * Gotcha: an output must never replace an input, so the names of all inputs are kept.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { type Input, openInput, streamInput } from '../node/input.js'
import { readWhole } from '../node/kernel-file.js'
import { writeFiles } from '../node/output.js'
import { cannotWrite } from '../node/refusal.js'
import { type InputFiles, openFiles } from '../node/snapshot-files.js'
import { writePieces } from '../node/writer.js'
import { wholeOf } from '../snapshot/kernel-source.js'
import { sniffSnapshot } from '../snapshot/open.js'
import { SnapshotFile, solid } from '../snapshot/snapshot-file.js'
import { UsageError } from './command.js'
import { isTerminal, STANDARD_OUTPUT } from './printer.js'
import { stoppable } from './stoppable.js'

/** The names of the inputs so far: no output may replace them. */
const inputs = new Set<string>()

/** Returns the names that no output may replace. */
export const inputNames = (): readonly string[] => [...inputs].filter((name) => name !== '-')

/** The folder that names of files are relative to. */
let base = ''

/** Makes the names of all further files relative to the folder of a file that names them. */
export function nameFilesFrom(file: string): void {
  base = path.dirname(file)
}

/** Returns the path of a file from the working directory. */
export const pathOf = (name: string): string =>
  base === '' || name === '-' || path.isAbsolute(name) ? name : path.join(base, name)

/**
 * Returns the path of an input.
 * @throws UsageError for `-` where it already stood for another input.
 */
function claim(given: string): string {
  const name = pathOf(given)
  if (name === '-' && inputs.has(name)) {
    throw new UsageError('- stands for two inputs, and standard input can be read only once')
  }
  inputs.add(name)
  return name
}

const standardInput = (): Input => streamInput('standard input', 0)

/** Returns the bytes of a file, or of standard input for `-`. @throws DomainBuilderError `cannot-read`. */
export function readInput(given: string): Uint8Array {
  const name = claim(given)
  return name === '-' ? wholeOf(standardInput()) : readWhole(name)
}

/** Opens a file and those next to it that belong to a snapshot. @throws DomainBuilderError `cannot-read`. */
export async function openInputFiles(given: string): Promise<InputFiles> {
  const name = claim(given)
  if (name !== '-') {
    const files = await openFiles(name)
    for (const { name: file } of [files.main, ...Object.values(files.beside)]) inputs.add(file)
    return files
  }
  const main = standardInput()
  return { main, beside: {}, format: await sniffSnapshot(main), close: () => main.close() }
}

/** Opens a file, or standard input for `-`, as a source. */
export function openInputSource(given: string): Input {
  const name = claim(given)
  return name === '-' ? standardInput() : openInput(name)
}

/** Returns whether there is such a file. */
export const exists = (name: string): boolean => fs.existsSync(pathOf(name))

/** Returns the bytes of a file that is an output as well; undefined without such a file. */
export function readReplaced(name: string): Uint8Array | undefined {
  return exists(name) ? readWhole(pathOf(name)) : undefined
}

/** Returns the outcome of an output that was stopped. */
export const notWritten = (names: readonly string[]): string => `${names.join(', ')}: not written`

/** Writes files of bytes in memory: all of them appear, or none. @throws DomainBuilderError `cannot-write`. */
export async function writeBytes(
  files: readonly { readonly name: string; readonly bytes: Uint8Array }[],
): Promise<void> {
  const names = files.map(({ name }) => name)
  await stoppable(notWritten(names), (signal) =>
    writeFiles(
      names,
      async (outputs) => {
        for (const [i, { fd }] of outputs.entries()) {
          const file = new SnapshotFile('', [solid(files[i]?.bytes ?? new Uint8Array(0))], { signal })
          await writePieces(fd, () => file.pieces())
        }
      },
      { signal, keep: inputNames() },
    ),
  )
}

/**
 * Reserves standard output for bytes, where an output's name is -.
 * @throws UsageError where JSON needs standard output, or it is a terminal.
 */
export function takeStandardOutput(output: string, what: string, json: boolean): void {
  if (output !== '-') return
  if (json) throw new UsageError(`standard output cannot take both ${what} and JSON: give -o a name`)
  if (isTerminal())
    throw new UsageError(`standard output is a terminal, which cannot show ${what}: use a pipe or a file`)
}

/** Writes to standard output, as fast as its reader takes it. @throws DomainBuilderError `cannot-write`. */
export async function writeStandardOutput(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (cause) => (cause ? reject(cannotWrite(STANDARD_OUTPUT, cause)) : resolve()))
    })
  }
}
