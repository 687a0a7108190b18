/**
 * The completion script for zsh: one call of _arguments for each command.
 *
 * Source: zshcompsys(1), "_arguments" and "_describe"; zshmodules(1).
 * Gotcha: it works as an autoloaded file of $fpath, where its first line counts and its text is the function's body at the
 * first Tab, and read with source, where it must register itself.
 */
import type { Operand, Option } from './command.js'
import { COMMON, type NamedCommand, PROGRAM, SHORT_NAME } from './commands.js'
import { optionMeaning } from './help.js'

/** A word in single quotes. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** What an explanation may not hold as it is: the signs that end it. */
const plain = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&')

const action = (file: boolean, choices: readonly string[] | undefined): string =>
  choices ? `(${choices.join(' ')})` : file ? '_files' : ' '

/** One option as _arguments takes it; one that excludes itself is offered once. */
function optionSpec([name, option]: [string, Option]): string {
  const { type, short, multiple, value = '', choices } = option
  const meaning = `[${plain(optionMeaning(option))}]`
  const behind = type === 'string' ? `:${value}:${action(value === 'FILE', choices)}` : ''
  const equals = type === 'string' ? '=' : ''
  if (!short) return quote(`${multiple ? '*' : ''}--${name}${equals}${meaning}${behind}`)
  const both = `{-${short}${type === 'string' ? '+' : ''},--${name}${equals}}`
  return `${quote(multiple ? '*' : `(-${short} --${name})`)}${both}${quote(meaning + behind)}`
}

function operandSpec({ name, file, choices, optional, repeated }: Operand, index: number): string {
  const place = repeated ? '*' : `${index + 1}`
  return quote(`${place}:${optional ? ':' : ''}${name}:${action(file === true || repeated === true, choices)}`)
}

export function zshCompletion(commands: readonly NamedCommand[]): string {
  const described = commands.map(({ name, summary }) => quote(`${name}:${plain(summary)}`))
  const cases = commands.map(({ name, command }) => {
    const specs = [
      ...Object.entries<Option>({ ...command.options, ...COMMON }).map(optionSpec),
      ...command.operands.map(operandSpec),
    ]
    return `        ${name})
          _arguments -s -S \\
            ${specs.join(' \\\n            ')}
          ;;`
  })
  return `#compdef ${PROGRAM} ${SHORT_NAME}
# Completion of ${PROGRAM} and ${SHORT_NAME} in zsh. Made by: ${SHORT_NAME} completion zsh

_${PROGRAM}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  local -a commands=(
    ${described.join('\n    ')}
    'help:what there is, or what one command does'
  )
  _arguments -C \\
    '(- *)'{-h,--help}'[what there is]' \\
    '(- *)--version[the version]' \\
    '1:command:->command' \\
    '*::argument:->argument' && return
  case $state in
    command) _describe -t commands command commands ;;
    argument)
      curcontext=\${curcontext%:*:*}:${PROGRAM}-$words[1]:
      case $words[1] in
        help) ((CURRENT == 2)) && _describe -t commands command commands ;;
${cases.join('\n')}
      esac
      ;;
  esac
}

if [[ $funcstack[1] == _${PROGRAM} ]]; then
  _${PROGRAM} "$@"
else
  compdef _${PROGRAM} ${PROGRAM} ${SHORT_NAME}
fi
`
}
