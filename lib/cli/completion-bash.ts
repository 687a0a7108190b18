/**
 * The completion script for bash: one function over tables of words.
 *
 * Source: bash(1), "Programmable Completion"; compgen and compopt in "SHELL BUILTIN COMMANDS".
 * Gotcha: = ends a word for readline, so --type=pv arrives as three words, unless the user took = out of
 * COMP_WORDBREAKS. Readline completes file names (compopt -o default), since it handles quotes, spaces and ~.
 */
import { VERDICT_TYPES } from '../kernel/verdict.js'
import { isFor, type NamedCommand, type Option } from './command.js'
import { COMMON, PROGRAM, SHORT_NAME } from './program.js'

/** Returns the option as it can be typed: -o and --output. */
const words = ([name, { short }]: [string, Option]): string[] => [...(short ? [`-${short}`] : []), `--${name}`]

/** Nothing in the script needs quoting: every word is one of our names. */
export function bashCompletion(commands: readonly NamedCommand[]): string {
  const all = commands.map(({ name, command }) => ({
    name,
    operands: command.operands,
    options: Object.entries<Option>({ ...command.options, ...COMMON }),
  }))
  const options = all.flatMap(({ name, options }) => {
    const line = (type: string, of: readonly [string, Option][]) =>
      `        ${name}:${type}) options='${of.flatMap(words).join(' ')}' ;;`
    const typed = options.some(([, { types }]) => types) ? VERDICT_TYPES : []
    return [
      ...typed.map((type) =>
        line(
          type,
          options.filter(([, option]) => isFor(option, type)),
        ),
      ),
      line('*', options),
    ]
  })
  const valued = all.flatMap(({ name, options }) => {
    const patterns = options.filter(([, { type }]) => type === 'string').flatMap(words)
    return patterns.length === 0 ? [] : [`        ${name}) valued=' ${patterns.join(' ')} ' ;;`]
  })
  const values = all.flatMap(({ name, options }) =>
    options.flatMap((entry) => {
      const pattern = words(entry).map((word) => `${name}${word}`)
      return caseLine(pattern.join('|'), entry[1].value === 'FILE', entry[1].choices)
    }),
  )
  const operands = all.flatMap(({ name, operands }) =>
    operands.flatMap(({ file, choices }, i) => caseLine(`${name}${i + 1}`, file === true, choices)),
  )
  return `# Completion of ${PROGRAM} and ${SHORT_NAME} in bash. Made by: ${SHORT_NAME} completion bash

_xen_domain_builder() {
    local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
    local command options valued type='' prefix='' kind='' choices='' i at=1 operand=1
    COMPREPLY=()
    # The command is the first word that is not an option.
    while ((at < COMP_CWORD)) && [[ \${COMP_WORDS[at]} == -* ]]; do ((at++)); done
    if ((at == COMP_CWORD)); then
        choices='${Object.entries<Option>(COMMON).flatMap(words).join(' ')}'
        [[ $word == -* ]] || choices='${commands.map(({ name }) => name).join(' ')} help'
        mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
        return
    fi
    command=\${COMP_WORDS[at]}
    if [[ $command == help ]]; then
        ((COMP_CWORD == at + 1)) &&
            mapfile -t COMPREPLY < <(compgen -W '${commands.map(({ name }) => name).join(' ')}' -- "$word")
        return
    fi
    # An option and its value in one word: --type=pv.
    if [[ $word == --*=* ]]; then
        prefix=\${word%%=*}= before=\${word%%=*} word=\${word#*=}
    elif [[ $word == = ]]; then
        word=''
    elif [[ $before == = ]]; then
        before=\${COMP_WORDS[COMP_CWORD-2]}
    fi
    # The type of the guest, if given: options of other types are not offered.
    for ((i = at + 1; i < COMP_CWORD; i++)); do
        case \${COMP_WORDS[i]} in
            --type) type=\${COMP_WORDS[i+1]}; [[ $type == = ]] && type=\${COMP_WORDS[i+2]} ;;
            --type=*) type=\${COMP_WORDS[i]#*=} ;;
        esac
    done
    case $command:$type in
${options.join('\n')}
        *) return ;;
    esac
    case $command in
${valued.join('\n')}
    esac
    # The number of this operand. After -- there are no options of this command.
    for ((i = at + 1; i < COMP_CWORD; i++)); do
        case \${COMP_WORDS[i]} in
            --) compopt -o default; return ;;
            =) ((i++)) ;;
            -?*) [[ $valued == *" \${COMP_WORDS[i]} "* && \${COMP_WORDS[i+1]} != = ]] && ((i++)) ;;
            *) ((operand++)) ;;
        esac
    done
    if [[ $valued == *" $before "* ]]; then
        case $command$before in
${values.join('\n')}
        esac
    elif [[ $word == -* ]]; then
        choices=$options
    else
        case $command$operand in
${operands.join('\n')}
        esac
    fi
    if [[ -n $choices ]]; then
        mapfile -t COMPREPLY < <(compgen -P "$prefix" -W "$choices" -- "$word")
    elif [[ -n $kind && -n $prefix ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -P "$prefix" -f -- "$word")
    elif [[ -n $kind ]]; then
        compopt -o default
    fi
}

complete -F _xen_domain_builder ${PROGRAM} ${SHORT_NAME}
`
}

/** Returns the line that completes a value or an operand, if there are completions. */
function caseLine(pattern: string, file: boolean, choices: readonly string[] | undefined): string[] {
  if (choices) return [`            ${pattern}) choices='${choices.join(' ')}' ;;`]
  return file ? [`            ${pattern}) kind=file ;;`] : []
}
