/**
 * What a command is: its words, its options, what it does. One file each beside this one.
 *
 * Source: the conventions of xl(1) and of the GNU coding standards (--help, --version, - for standard input).
 * Gotcha: a command file is loaded only when it runs, so that --help starts as fast as Node does.
 */
import { messagePart } from '../printable.js'
import type { AnswerName } from './answers.js'
import type { TROUBLE } from './exit-status.js'
import type { Progress } from './progress.js'

export type Values = Readonly<Record<string, string | boolean | string[] | undefined>>

export interface Invocation {
  readonly values: Values
  readonly positionals: readonly string[]
  /** --json was given: standard output is for the answer alone. */
  readonly json: boolean
  readonly progress: Progress
  /** Gives the command's answer, once: the value as one JSON object where --json was given, else the lines. */
  answer(name: AnswerName, value: () => object, lines: () => readonly string[]): void
}

/** One option: how it is parsed (as node:util's parseArgs has it), and what is said of it wherever options are listed. */
export interface Option {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  readonly multiple?: boolean
  /** What it means, in a line or two; "may be given more than once" is said here too. */
  readonly help: string
  /** The name of its value; none for a boolean. FILE is the name of a file, which shells complete. */
  readonly value?: string
  /** The words that the value can be, when there are only a few. */
  readonly choices?: readonly string[]
  /** What other programs call this option: never taken, only suggested. */
  readonly elsewhere?: readonly string[]
  /** Words that are none of them though one might think so, and why. */
  readonly never?: Readonly<Record<string, string>>
  /** The heading it is listed under, when it is not for every use of the command. */
  readonly group?: string
  /** The types of guest that it is for, when it is not for all; they are listed apart. */
  readonly types?: readonly (typeof GUEST_TYPES)[number][]
}

/** The types of guest that an option can be for. */
export const GUEST_TYPES = ['pv', 'pvh', 'linux'] as const

/** Whether an option has a meaning for a guest of that type. */
export const isFor = ({ types }: Option, type: (typeof GUEST_TYPES)[number]): boolean => types?.includes(type) ?? true

export type Options = Readonly<Record<string, Option>>

/** One operand: its word in the usage line, and what a shell can complete it to. */
export interface Operand {
  readonly name: string
  /** It is the name of a file. */
  readonly file?: boolean
  /** The words that it can be, when there are only a few. */
  readonly choices?: readonly string[]
  /** Options by which other programs take it: never taken, only suggested. */
  readonly elsewhere?: readonly string[]
  readonly optional?: boolean
  /** Any number of them, none as well. */
  readonly repeated?: boolean
}

export interface Command {
  readonly options: Options
  /** What it does, in a sentence or two: --help prints it between the usage line and the options. */
  readonly help: string
  readonly usage: string
  /** In the order they are typed in. */
  readonly operands: readonly Operand[]
  /** What is typed for common uses, after the program's name. */
  readonly examples: readonly string[]
  /** The exit status of every error, where 1 says something of its own. */
  readonly errorStatus?: typeof TROUBLE
  run(invocation: Invocation): Promise<void>
}

/** Thrown for what the user typed wrong: exit 2. */
export class UsageError extends Error {
  toJSON(): { code: 'usage'; message: string } {
    return { code: 'usage', message: messagePart(this.message, 1000) }
  }
}

/** Thrown when the answer has been printed and is a no: exit 1. */
export class Refused extends Error {}

/** A string option, or undefined. */
export function text(values: Values, name: string): string | undefined {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}

/** A repeatable string option. */
export function texts(values: Values, name: string): readonly string[] {
  const value = values[name]
  return Array.isArray(value) ? value : []
}

/** An option that is one of its choices, which is checked when the arguments are parsed. */
export function oneOf<const T extends string>(values: Values, name: string, choices: readonly T[], otherwise: T): T {
  const given = text(values, name)
  return choices.find((choice) => choice === given) ?? otherwise
}
