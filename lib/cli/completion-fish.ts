/**
 * The completion script for fish: one line for each command, option and operand.
 *
 * Source: complete(1) of fish, https://fishshell.com/docs/current/cmds/complete.html
 * Gotcha: fish offers file names everywhere unless told not to, and then only where told to. A condition runs at each
 * Tab, so there is one function for all of them.
 */
import type { NamedCommand, Option } from './command.js'
import { optionMeaning } from './help.js'
import { COMMON, PROGRAM, SHORT_NAME } from './program.js'

/** Returns a word in single quotes, where fish knows two escapes. */
const quote = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`

/**
 * Returns the lines of an option: a file as its value (-r -F), or one that cannot be guessed (-x). The choices have a
 * separate line without a text, or each would be shown with the option's text. It comes first, since the last text
 * counts.
 */
function optionLines(condition: string, name: string, option: Option): string[] {
  const { type, short, value, choices } = option
  const words = `complete -c $name -n ${quote(condition)} ${short ? `-s ${short} ` : ''}-l ${name}`
  const suffix = type === 'boolean' ? '' : value === 'FILE' ? ' -r -F' : ' -x'
  return [
    ...(choices ? [`${words} -x -a ${quote(choices.join(' '))}`] : []),
    `${words}${suffix} -d ${quote(optionMeaning(option))}`,
  ]
}

export function fishCompletion(commands: readonly NamedCommand[]): string {
  const at = `__xen_domain_builder_at`
  const valued = new Set<string>()
  const lines = commands.flatMap(({ name, summary, command }) => {
    const options = Object.entries<Option>({ ...command.options, ...COMMON })
    for (const [word, { type, short }] of options) {
      if (type === 'string') for (const typed of [`--${word}`, ...(short ? [`-${short}`] : [])]) valued.add(typed)
    }
    return [
      '',
      `complete -c $name -n ${quote(at)} -a ${name} -d ${quote(summary)}`,
      `complete -c $name -n ${quote(`${at} help 1`)} -a ${name} -d ${quote(summary)}`,
      ...options.flatMap(([word, option]) => {
        const forType = option.types ? `; and ${at}_type ${option.types.join(' ')}` : ''
        return optionLines(`${at} ${name}${forType}`, word, option)
      }),
      ...command.operands.flatMap(({ file, choices, repeated }, i) => {
        const condition = `${at} ${name} ${i + 1}${repeated ? ' more' : ''}`
        if (choices) return [`complete -c $name -n ${quote(condition)} -a ${quote(choices.join(' '))}`]
        return file || repeated ? [`complete -c $name -n ${quote(condition)} -F`] : []
      }),
    ]
  })
  return `# Completion of ${PROGRAM} and ${SHORT_NAME} in fish. Made by: ${SHORT_NAME} completion fish

# ${at}: succeeds before a command is typed. With COMMAND [N [more]]: succeeds for this command, before its Nth operand [or later].
function ${at}
    set -l words (commandline -opc)
    # Options may stand before the command.
    while set -q words[2]; and string match -q -- '-*' $words[2]
        set -e words[2]
    end
    if not set -q argv[1]
        test (count $words) -eq 1
        return
    end
    test "$words[2]" = $argv[1]; or return 1
    set -q argv[2]; or return 0
    set -l operand 1
    set -l skip 0
    for word in $words[3..-1]
        if test $skip -eq 1
            set skip 0
        else if contains -- $word ${[...valued].join(' ')}
            set skip 1
        else if not string match -q -- '-?*' $word
            set operand (math $operand + 1)
        end
    end
    test $skip -eq 0; or return 1
    test $operand -eq $argv[2]; or begin
        set -q argv[3]; and test $operand -gt $argv[2]
    end
end

# ${at}_type TYPE...: succeeds if the type of the guest is one of these, auto, or not given.
function ${at}_type
    set -l words (commandline -opc)
    set -l type auto
    for i in (seq (count $words))
        if string match -q -- '--type=*' $words[$i]
            set type (string replace -- --type= '' $words[$i])
        else if test "$words[$i]" = --type; and set -q words[(math $i + 1)]
            set type $words[(math $i + 1)]
        end
    end
    contains -- $type auto $argv
end

for name in ${PROGRAM} ${SHORT_NAME}
    complete -c $name -e
    complete -c $name -f
    complete -c $name -n ${at} -a help -d 'lists the commands, or describes one command'
    complete -c $name -n ${at} -s h -l help -d 'lists the commands'
    complete -c $name -n ${at} -l version -d 'the version'
    complete -c $name -n ${at} -l json -d ${quote(optionMeaning(COMMON.json))}
    complete -c $name -n ${at} -l quiet -d ${quote(optionMeaning(COMMON.quiet))}
${lines.map((line) => (line === '' ? '' : `    ${line}`)).join('\n')}
end
`
}
