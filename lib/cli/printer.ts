/**
 * The printer: all text of the command goes through here, so that text from a file never reaches a terminal unescaped.
 *
 * Source: ../printable.ts says what is unsafe; write(2) to descriptors 1 and 2.
 * Gotcha: the bytes of an output that goes to standard output are not text; files.ts writes them.
 */
import { writeSync } from 'node:fs'
import { jsonText, messagePart, printable, printableLines } from '../printable.js'
import { type AnswerName, schemaOf } from './answers.js'

/** Its name in messages. */
export const STANDARD_OUTPUT = 'standard output'

/** The longest line on standard error. */
const MESSAGE_MAX = 1200

/** Prints the lines of an answer on standard output. */
export function printLines(lines: readonly string[]): void {
  process.stdout.write(`${printableLines(lines).join('\n')}\n`)
}

/**
 * Prints a picture if standard output is a terminal; nothing where another program reads it.
 * @param draw returns lines whose colours are escape sequences. It must make all names printable itself.
 */
export function printPicture(draw: (terminal: NodeJS.WriteStream) => readonly string[]): void {
  if (isTerminal()) process.stdout.write(`\n${draw(process.stdout).join('\n')}\n`)
}

/** Prints an answer as one JSON object on standard output, named by its schema. */
export function printAnswer(name: AnswerName, value: object): void {
  process.stdout.write(`${jsonText({ schema: schemaOf(name), ...value }, 2)}\n`)
}

/** Prints a message: one line on standard error. */
export function say(message: string): void {
  process.stderr.write(`${messagePart(message, MESSAGE_MAX)}\n`)
}

/** Prints a stack trace and keeps its lines. */
export function sayStack(stack: string): void {
  process.stderr.write(`${printableLines(stack.split('\n')).join('\n')}\n`)
}

/** Prints as `say` does before the process ends by a signal: written when this returns, if the message has a reader. */
export function sayAtOnce(message: string): void {
  try {
    writeSync(process.stderr.fd, `${messagePart(message, MESSAGE_MAX)}\n`)
  } catch {
    // The terminal is closed, or the reader is gone.
  }
}

/** Returns whether standard output is a terminal. */
export const isTerminal = (): boolean => process.stdout.isTTY === true

/** Returns whether standard error is a terminal. */
export const isWatched = (): boolean => process.stderr.isTTY === true

/** Replaces the line that the cursor is on; nothing clears it. */
export function showStatus(status: string): void {
  const width = Math.max(20, (process.stderr.columns || 80) - 4)
  // Escapes are longer than the characters they replace, so the line is cut after they are made.
  process.stderr.write(`\r\x1b[K${printable(printable(status), width)}`)
}

/**
 * Calls the listener for errors of standard output, even after the answer was given. Errors of messages that no reader
 * can get, such as progress on a closed terminal, are ignored.
 */
export function onOutputError(listener: (error: NodeJS.ErrnoException) => void): void {
  process.stderr.on('error', () => {})
  process.stdout.on('error', listener)
}
