/**
 * The printer: all that the command says goes through here, so that no text out of a file reaches a terminal as it is.
 *
 * Source: ../printable.ts says what is unsafe; write(2) to descriptors 1 and 2.
 * Gotcha: the bytes of an output that goes to standard output are no text; they have a place of their own in files.ts.
 */
import { writeSync } from 'node:fs'
import { jsonText, messagePart, printable, printableLines } from '../printable.js'
import { type AnswerName, schemaOf } from './answers.js'
import { UsageError } from './command.js'

/** What messages call it. */
export const STANDARD_OUTPUT = 'standard output'

/** Longest line on standard error. */
const MESSAGE_MAX = 1200

/** Lines of an answer, on standard output. */
export function printLines(lines: readonly string[]): void {
  process.stdout.write(`${printableLines(lines).join('\n')}\n`)
}

/**
 * A picture for the terminal that standard output is; nothing where another program reads it.
 * @param draw makes lines whose colours are escape sequences, and whose names it has made printable itself.
 */
export function printPicture(draw: (terminal: NodeJS.WriteStream) => readonly string[]): void {
  if (process.stdout.isTTY === true) process.stdout.write(`\n${draw(process.stdout).join('\n')}\n`)
}

/** An answer as one JSON object on standard output, named by its schema. */
export function printAnswer(name: AnswerName, value: object): void {
  process.stdout.write(`${jsonText({ schema: schemaOf(name), ...value }, 2)}\n`)
}

/** A message: one line on standard error. */
export function say(message: string): void {
  process.stderr.write(`${messagePart(message, MESSAGE_MAX)}\n`)
}

/** A stack of our own making, whose lines stay lines. */
export function sayStack(stack: string): void {
  process.stderr.write(`${printableLines(stack.split('\n')).join('\n')}\n`)
}

/** The same as `say` before the process ends by a signal: written when this returns, if somebody reads it. */
export function sayAtOnce(message: string): void {
  try {
    writeSync(process.stderr.fd, `${messagePart(message, MESSAGE_MAX)}\n`)
  } catch {
    // The terminal is closed, or the reader is gone.
  }
}

/** Whether somebody watches what is said. */
export const isWatched = (): boolean => process.stderr.isTTY === true

/** Puts this in place of the line that the cursor is on; nothing clears it. */
export function showStatus(status: string): void {
  const width = Math.max(20, (process.stderr.columns || 80) - 4)
  // Escapes are longer than what they stand for, so that the line is cut when they are made.
  process.stderr.write(`\r\x1b[K${printable(printable(status), width)}`)
}

/**
 * Told of what goes wrong with standard output, also after the answer was given. Messages that nobody can read any more,
 * such as progress on a terminal that was closed, are no reason to stop.
 */
export function onOutputError(listener: (error: NodeJS.ErrnoException) => void): void {
  process.stderr.on('error', () => {})
  process.stdout.on('error', listener)
}

/**
 * Takes standard output for bytes, where an output's name is -.
 * @throws UsageError where there is no room for them, or a person would get them.
 */
export function takeStandardOutput(output: string, what: string, json: boolean): void {
  if (output !== '-') return
  if (json) throw new UsageError(`standard output has room for ${what} or for JSON: give -o a name`)
  if (process.stdout.isTTY === true)
    throw new UsageError(`standard output is a terminal, which cannot show ${what}: use a pipe or a file`)
}
