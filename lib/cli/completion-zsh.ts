/**
 * The completion script for zsh: one call of _arguments for each command.
 *
 * Source: zshcompsys(1), "_arguments" and "_describe"; zshmodules(1).
 * Gotcha: the script must work in two ways. As an autoloaded file of $fpath, its first line counts, and its text is the
 * function's body at the first Tab. Read with source, it must register itself.
 */
import { VERDICT_TYPES } from '../kernel/verdict.js'
import type { NamedCommand, Operand, Option } from './command.js'
import { optionMeaning } from './help.js'
import { COMMON, PROGRAM, SHORT_NAME } from './program.js'

/** Returns a word in single quotes. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** Escapes the characters that would end an explanation. */
const plain = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&')

const action = (file: boolean, choices: readonly string[] | undefined): string =>
  choices ? `(${choices.join(' ')})` : file ? '_files' : ' '

/** Returns one option for _arguments; an option that excludes itself is offered once. */
function optionSpec([name, option]: [string, Option]): string {
  const { type, short, multiple, value = '', choices } = option
  const meaning = `[${plain(optionMeaning(option))}]`
  const suffix = type === 'string' ? `:${value}:${action(value === 'FILE', choices)}` : ''
  const equals = type === 'string' ? '=' : ''
  if (!short) return quote(`${multiple ? '*' : ''}--${name}${equals}${meaning}${suffix}`)
  const both = `{-${short}${type === 'string' ? '+' : ''},--${name}${equals}}`
  return `${quote(multiple ? '*' : `(-${short} --${name})`)}${both}${quote(meaning + suffix)}`
}

function operandSpec({ name, file, choices, optional, repeated }: Operand, index: number): string {
  const place = repeated ? '*' : `${index + 1}`
  return quote(`${place}:${optional ? ':' : ''}${name}:${action(file === true || repeated === true, choices)}`)
}

export function zshCompletion(commands: readonly NamedCommand[]): string {
  const described = commands.map(({ name, summary }) => quote(`${name}:${plain(summary)}`))
  const cases = commands.map(({ name, command }) => {
    const options = Object.entries<Option>({ ...command.options, ...COMMON })
    const specs = [...options.filter(([, { types }]) => !types).map(optionSpec), ...command.operands.map(operandSpec)]
    const typed = VERDICT_TYPES.flatMap((type) => {
      // Also offered where no type was given.
      const own = options.filter(([, option]) => option.types?.[0] === type)
      const types = own.map(([, option]) => (option.types ?? []).join('|'))
      return [...new Set(types)].map((pattern) => {
        const some = own.filter((_, i) => types[i] === pattern).map(optionSpec)
        return `          [[ $type == (|auto|${pattern}) ]] && specs+=(
            ${some.join('\n            ')}
          )`
      })
    })
    return `        ${name})
          specs=(
            ${specs.join('\n            ')}
          )
${typed.map((lines) => `${lines}\n`).join('')}          _arguments -s -S $specs
          ;;`
  })
  return `#compdef ${PROGRAM} ${SHORT_NAME}
# Completion of ${PROGRAM} and ${SHORT_NAME} in zsh. Made by: ${SHORT_NAME} completion zsh

_${PROGRAM}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  local -a specs
  local type
  local -a commands=(
    ${described.join('\n    ')}
    'help:lists the commands, or describes one command'
  )
  _arguments -C \\
    '(- *)'{-h,--help}'[lists the commands]' \\
    '(- *)--version[the version]' \\
    '--json[${plain(optionMeaning(COMMON.json))}]' \\
    '--quiet[${plain(optionMeaning(COMMON.quiet))}]' \\
    '1:command:->command' \\
    '*::argument:->argument' && return
  case $state in
    command) _describe -t commands command commands ;;
    argument)
      curcontext=\${curcontext%:*:*}:${PROGRAM}-$words[1]:
      # The type of the guest, if given: options of other types are not offered.
      type=\${\${words[(r)--type=*]}#--type=}
      [[ -z $type ]] && type=\${words[\${words[(i)--type]}+1]}
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
