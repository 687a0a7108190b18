/**
 * The output of --help: for the program from the list of commands, and for a command from its table of options.
 *
 * Source: the layout of the GNU coding standards, https://www.gnu.org/prep/standards/html_node/_002d_002dhelp.html
 * Gotcha: an option is defined only in the table; nothing here may refer to an option by its name.
 */
import { fold } from '../inspect/table.js'
import type { Command, Option } from './command.js'
import { PROGRAM, SHORT_NAME } from './program.js'

const WIDTH = 80
const COLUMN = 24

/** Returns the output of --help and of a bare `xdb`. */
export const generalHelp = (commands: Readonly<Record<string, { readonly summary: string }>>): string[] => [
  `Usage: ${PROGRAM} COMMAND [options] (or ${SHORT_NAME} for short)`,
  '',
  ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(12)}${summary}`),
  '',
  'All commands: --json (the answer as one JSON object), --quiet (no progress),',
  '--help, --version. As a file name, - is standard input.',
  'Exit status: 0 done, or yes; 1 the answer is no; 2 usage, read or write error.',
  '',
  'Examples:',
  ...GENERAL_EXAMPLES.map(exampleLine),
]

/** Examples: a kernel is checked, a guest built from it, and the guest's layout shown. */
export const GENERAL_EXAMPLES = ['check vmlinuz', 'build vmlinuz -o guest.img --memory 256M', 'map guest.img'] as const

const exampleLine = (words: string): string => `  ${SHORT_NAME} ${words}`

/** Returns the lines of one command's help; "Usage: " comes first. */
export function helpText(program: string, { usage, help, options, examples }: Command): string[] {
  const entries = Object.entries(options)
  const groups = new Set([undefined, ...entries.map(([, option]) => optionGroup(option))])
  return [
    ...fold(`Usage: ${program} ${usage}`, WIDTH),
    '',
    ...help.split('\n').flatMap((line) => fold(line, WIDTH)),
    ...(entries.length > 0 ? [''] : []),
    ...[...groups].flatMap((group) => [
      ...(group === undefined ? [] : [`${group}:`]),
      ...entries
        .filter(([, option]) => optionGroup(option) === group)
        .flatMap(([name, option]) => optionLines(name, option)),
    ]),
    '',
    'Examples:',
    ...examples.map(exampleLine),
  ]
}

/** Returns the heading that an option is listed under, when it is not for every guest. */
export const optionGroup = ({ types }: Option): string | undefined => types && `For --type ${types.join(' and ')}`

/** Returns the option as it is typed: -o, --output FILE. */
function optionWords(name: string, { short, value }: Option): string {
  return `${short ? `-${short}, ` : ''}--${name}${value === undefined ? '' : ` ${value}`}`
}

/** Returns the meaning of an option: its choices, then its own text. */
export function optionMeaning({ choices, help }: Option): string {
  if (!choices) return help
  return `${choices.join(', ')}${help.startsWith('(') || help === '' ? ' ' : ': '}${help}`.trimEnd()
}

function optionLines(name: string, option: Option): string[] {
  const words = `  ${optionWords(name, option)}`
  const [first = '', ...more] = fold(optionMeaning(option), WIDTH - COLUMN)
  const indented = more.map((line) => ' '.repeat(COLUMN) + line)
  if (words.length > COLUMN - 2) return [words, ' '.repeat(COLUMN) + first, ...indented]
  return [words.padEnd(COLUMN) + first, ...indented]
}
