/**
 * A command's arguments: options by its table, operands, and usage errors in words for people.
 *
 * Source: https://nodejs.org/api/util.html#utilparseargsconfig, whose tokens say how each word was taken.
 * Gotcha: do not make parseArgs strict: its own messages are for programmers and have no suggestions.
 */
import { parseArgs } from 'node:util'
import { didYouMean } from '../closest.js'
import { type Command, invalidValue, type Option, type Options, UsageError, type Values } from './command.js'
import { COMMON } from './program.js'

const common: Options = COMMON
const dashed = (name: string): string => `--${name}`

/** Returns whether a word is one of the options that may stand before the command. */
const isCommon = (word: string): boolean =>
  Object.entries(common).some(([name, { short }]) => word.split('=')[0] === dashed(name) || word === `-${short}`)

/** Splits off the common options before the command. @throws UsageError for any other option there. */
export function splitCommand(argv: readonly string[]): { common: readonly string[]; words: readonly string[] } {
  const found = argv.findIndex((word) => !isCommon(word))
  const at = found === -1 ? argv.length : found
  const first = argv[at]
  if (first?.startsWith('-')) {
    const suggestion = didYouMean(first, Object.keys(common).map(dashed))
    throw new UsageError(`the command comes first, before '${first}'${suggestion}`)
  }
  return { common: argv.slice(0, at), words: argv.slice(at) }
}

/** @throws UsageError for an unknown option, or a value that is missing, unexpected or not one of the choices. */
export function parseArguments(
  name: string,
  command: Command,
  args: string[],
): { values: Values; positionals: string[] } {
  const options: Options = { ...COMMON, ...command.options }
  const { values, positionals, tokens } = parseArgs({
    args,
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined
    if (!option) {
      // A word such as QEMU's -append is parsed as many short options.
      const word = (args[token.index] ?? token.rawName).split('=')[0] ?? ''
      throw new UsageError(`${name} has no option '${word}'${suggest(word, options, command)}`)
    }
    checkValue(token, option)
  }
  return { values: values as Values, positionals }
}

interface Typed {
  /** As it was typed: --memory, -o. */
  readonly rawName: string
  readonly value?: string | undefined
  readonly inlineValue?: boolean | undefined
}

/** Returns a suggestion for an unknown option: our option for a name in other programs, or the closest spelling. */
function suggest(word: string, options: Options, { operands }: Command): string {
  const typed = word.replace(/^--?/, '')
  const meant = Object.entries(options).find(([, { elsewhere }]) => elsewhere?.includes(typed))
  if (meant) return `; did you mean --${meant[0]}?`
  const operand = operands.find(({ elsewhere }) => elsewhere?.includes(typed))
  if (operand) return `; ${operand.name} is given without an option`
  return word.startsWith('--') ? didYouMean(word, Object.keys(options).map(dashed)) : ''
}

/** @throws UsageError for a value that is missing, unexpected or not one of the choices. */
export function checkValue(
  { rawName, value, inlineValue }: Typed,
  { type, value: what, choices, never = {} }: Option,
): void {
  if (type === 'boolean') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value, but has '${value}'`)
    return
  }
  if (value === undefined || (value === '' && choices)) throw new UsageError(`${rawName} needs a ${what}`)
  if (!inlineValue && value.startsWith('-') && value !== '-')
    throw new UsageError(`${rawName} needs a ${what}; '${value}' looks like an option (else: ${rawName}=${value})`)
  if (choices && !choices.includes(value)) {
    const why = Object.hasOwn(never, value) ? `; ${never[value]}` : didYouMean(value, choices)
    throw invalidValue(rawName, value, `one of ${choices.join(', ')}${why}`)
  }
}
