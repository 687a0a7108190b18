/**
 * The printer: all text of the command goes through here, so that text from a file never reaches a terminal unescaped.
 *
 * Source: ../printable.ts says what is unsafe; write(2) to descriptors 1 and 2.
 * Gotcha: the bytes of an output that goes to standard output are not text; files.ts writes them.
 */
import { writeSync } from 'node:fs'
import { type AnswerName, schemaOf } from '../inspect/answers.js'
import { jsonText, messagePart, printable, printableLines } from '../printable.js'

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

/** An answer that is a list, item by item, so that a list of any length needs little memory. */
export interface ListForms<T> {
  /** The name of the list in the JSON object. */
  readonly list: string
  readonly items: AsyncIterable<T>
  readonly json: (item: T) => object
  /** The other members of the JSON object, which come after the list. */
  readonly rest?: () => object
  readonly text: (item: T) => readonly string[]
}

/** Characters that are printed at a time where no person waits for each line. */
const BATCH = 2 ** 16

/** Prints each item as lines of text. Stops early if standard output has no reader any more. */
export async function printItems<T>({ items, text }: Pick<ListForms<T>, 'items' | 'text'>): Promise<void> {
  await printBatches(items, (item) => {
    const lines = printableLines(text(item))
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`
  })
}

/**
 * Prints an answer as one JSON object whose list is made while it is printed.
 * Gotcha: an error after the first batch leaves the object unfinished, which no parser accepts.
 */
export async function printListAnswer<T>(name: AnswerName, { list, items, json, rest }: ListForms<T>): Promise<void> {
  const head = `${jsonText({ schema: schemaOf(name) }, 2).slice(0, -2)},\n  ${jsonText(list)}: [`
  let isEmpty = true
  await printBatches(items, (item) => {
    const before = isEmpty ? head : ','
    isEmpty = false
    return `${before}\n    ${jsonText(json(item))}`
  })
  const members = jsonText(rest?.() ?? {}, 2).slice(1)
  await printed(`${isEmpty ? head : '\n  '}]${members === '}' ? '\n}' : `,${members}`}\n`)
}

/** Prints texts, several at a time, or at once on a terminal. */
async function printBatches<T>(items: AsyncIterable<T>, show: (item: T) => string): Promise<void> {
  const most = isTerminal() ? 1 : BATCH
  let batch = ''
  for await (const item of items) {
    batch += show(item)
    if (batch.length < most) continue
    if (!(await printed(batch))) return
    batch = ''
  }
  if (batch !== '') await printed(batch)
}

/** Writes, and waits until it is written. Returns whether it was: onOutputError() hears of an error. */
const printed = (text: string): Promise<boolean> =>
  new Promise((resolve) => {
    process.stdout.write(text, (error) => resolve(!error))
  })

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
