/**
 * A command's arguments: options by its table, operands, and what was typed wrong in words for people.
 *
 * Source: https://nodejs.org/api/util.html#utilparseargsconfig, whose tokens say how each word was taken.
 * Gotcha: parseArgs is not asked to be strict: its own messages are of a programmer's words and know no suggestion.
 */
import { parseArgs } from 'node:util'
import { didYouMean } from '../closest.js'
import { type Command, type Option, type Options, UsageError, type Values } from './command.js'
import { COMMON } from './commands.js'

/** @throws UsageError for an unknown option, a value that is missing, not one of the choices, or not wanted. */
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
    if (!option) throw new UsageError(`${name} has no option '${token.rawName}'${suggestOption(token, options)}`)
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

function suggestOption({ rawName }: Typed, options: Options): string {
  return rawName.startsWith('--')
    ? didYouMean(
        rawName,
        Object.keys(options).map((known) => `--${known}`),
      )
    : ''
}

function checkValue({ rawName, value, inlineValue }: Typed, { type, value: what, choices, never = {} }: Option): void {
  if (type === 'boolean') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value; not '${value}'`)
    return
  }
  if (value === undefined || (value === '' && choices)) throw new UsageError(`${rawName} needs a ${what}`)
  if (!inlineValue && value.startsWith('-') && value !== '-')
    throw new UsageError(`${rawName} needs a ${what}; '${value}' looks like an option (else: ${rawName}=${value})`)
  if (choices && !choices.includes(value)) {
    const why = Object.hasOwn(never, value) ? `: ${never[value]}` : didYouMean(value, choices)
    throw new UsageError(`${rawName} is one of ${choices.join(', ')}; not '${value}'${why}`)
  }
}
