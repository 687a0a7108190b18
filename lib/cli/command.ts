/**
 * The definition of a command: its words, its options, its action. Each command has one file in this directory.
 *
 * Source: the conventions of xl(1) and of the GNU coding standards (--help, --version, - for standard input).
 * Gotcha: a command file is loaded only when it runs, so that --help starts as fast as Node does.
 */

import type { AnswerName } from '../inspect/answers.js'
import type { VerdictType } from '../kernel/verdict.js'
import { messagePart } from '../printable.js'
import type { TROUBLE } from './exit-status.js'
import type { ListForms } from './printer.js'
import type { Progress } from './progress.js'

export type Values = Readonly<Record<string, string | boolean | string[] | undefined>>

export interface Invocation {
  readonly values: Values
  readonly positionals: readonly string[]
  /** --json was given: standard output must contain only the answer. */
  readonly json: boolean
  readonly progress: Progress
  /** Loads every command of the program. */
  readonly commands: () => Promise<readonly NamedCommand[]>
  /** Prints the command's answer, once. */
  answer(name: AnswerName, forms: AnswerForms): void
  /** Prints an answer that is a list of any length, once. */
  answerList<T>(name: AnswerName, forms: ListForms<T>): Promise<void>
}

/** An answer: one JSON object where --json was given, else lines of text, if there are any. */
interface AnswerForms {
  readonly json: () => object
  readonly text?: () => readonly string[]
}

/** One option: how it is parsed (as in node:util's parseArgs), and its description for every list of options. */
export interface Option {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  readonly multiple?: boolean
  /** Its meaning, in a line or two; "may be given more than once" is part of it. */
  readonly help: string
  /** The name of its value; absent for a boolean. FILE is the name of a file, which shells complete. */
  readonly value?: string
  /** The possible values, when there are only a few. */
  readonly choices?: readonly string[]
  /** The option's names in other programs: never accepted, only suggested. */
  readonly elsewhere?: readonly string[]
  /** Words that look like choices but are invalid, and why. */
  readonly never?: Readonly<Record<string, string>>
  /** The types of guest that it is for, when it is not for all; such options are listed apart. */
  readonly types?: readonly VerdictType[]
}

/** Returns whether an option has a meaning for a guest of that type. */
export const isFor = ({ types }: Option, type: VerdictType): boolean => types?.includes(type) ?? true

export type Options = Readonly<Record<string, Option>>

/** One operand: its word in the usage line, and the words that a shell can complete it to. */
export interface Operand {
  readonly name: string
  /** Whether it is the name of a file. */
  readonly file?: boolean
  /** The possible words, when there are only a few. */
  readonly choices?: readonly string[]
  /** Options that stand for it in other programs: never accepted, only suggested. */
  readonly elsewhere?: readonly string[]
  readonly optional?: boolean
  /** Whether it may be given any number of times, or not at all. */
  readonly repeated?: boolean
}

export interface Command {
  readonly options: Options
  /** The action in a sentence or two: --help prints it between the usage line and the options. */
  readonly help: string
  readonly usage: string
  /** In the order they are typed. */
  readonly operands: readonly Operand[]
  /** Command lines for common uses, after the program's name. */
  readonly examples: readonly string[]
  /** The exit status of every error, for a command whose 1 has a special meaning. */
  readonly errorStatus?: typeof TROUBLE
  run(invocation: Invocation): Promise<void>
}

/** A command with its name and summary, for lists of all commands. */
export interface NamedCommand {
  readonly name: string
  readonly summary: string
  readonly command: Command
}

/** Thrown for a usage error: exit 2. */
export class UsageError extends Error {
  toJSON(): { code: 'usage'; message: string } {
    return { code: 'usage', message: messagePart(this.message, 1000) }
  }
}

/** Returns the error for an invalid value of an option or an operand. */
export const invalidValue = (name: string, value: string, expected: string): UsageError =>
  new UsageError(`${name} '${value}' is invalid: expected ${expected}`)

/** Thrown when the answer has been printed and is negative: exit 1. */
export class Refused extends Error {}

/** Returns a string option, or undefined. */
export function text(values: Values, name: string): string | undefined {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}

/** Returns the values of a repeatable string option. */
export function texts(values: Values, name: string): readonly string[] {
  const value = values[name]
  return Array.isArray(value) ? value : []
}

/** Returns an option that is one of its choices, or undefined; checked when the arguments are parsed. */
export function oneOf<const T extends string>(values: Values, name: string, choices: readonly T[]): T | undefined {
  const given = text(values, name)
  return choices.find((choice) => choice === given)
}
