#!/usr/bin/env node
/**
 * The command: arguments in, exit status out (exit-status.ts).
 *
 * Source: https://nodejs.org/api/util.html#utilparseargsconfig
 * Gotcha: only the modules of a command may be loaded, so that --help costs little more than starting Node.
 */
import { readFileSync } from 'node:fs'
import { didYouMean } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import { cannotWrite } from '../node/refusal.js'
import { parseArguments, splitCommand } from './arguments.js'
import { type Command, type Invocation, Refused, UsageError } from './command.js'
import { COMMANDS, loadCommands } from './commands.js'
import { EXIT_STATUS, NO, TROUBLE } from './exit-status.js'
import { generalHelp, helpText } from './help.js'
import {
  onOutputError,
  printAnswer,
  printItems,
  printLines,
  printListAnswer,
  STANDARD_OUTPUT,
  say,
  sayStack,
} from './printer.js'
import { PROGRAM } from './program.js'
import { Progress } from './progress.js'

function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

const argv = process.argv.slice(2)
/** Whether --json was given. It must be known first, since usage errors are answered in JSON as well. */
const json = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined).includes('--json')

/** The command being run, once it is known: a usage error points to its help. */
let running: { readonly name: string; readonly command?: Command } | undefined

const answer: Invocation['answer'] = (name, forms) => {
  if (json) return printAnswer(name, forms.json())
  const lines = forms.text?.() ?? []
  if (lines.length > 0) printLines(lines)
}
const answerList: Invocation['answerList'] = (name, forms) => (json ? printListAnswer(name, forms) : printItems(forms))
const help = (lines: readonly string[]): void => answer('help', { json: () => ({ lines }), text: () => lines })
const sayVersion = (): void => answer('version', { json: () => ({ version: version() }), text: () => [version()] })

async function main(): Promise<void> {
  const { common, words } = splitCommand(argv)
  const [first, ...rest] = words
  if (common.includes('--version')) return sayVersion()
  if (first === undefined || (first === 'help' && rest.every((word) => word.startsWith('-'))))
    return help(generalHelp(COMMANDS))
  const [name = '', ...args] = first === 'help' ? [...rest, '--help'] : words
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!found) throw new UsageError(`the command '${name}' is unknown${didYouMean(name, Object.keys(COMMANDS))}`)
  running = { name }
  const { command } = await found.load()
  running = { name, command }
  const { values, positionals } = parseArguments(name, command, [...common, ...args])
  if (values.help) return help(helpText(PROGRAM, command))
  if (values.version) return sayVersion()
  const least = command.operands.filter(({ optional, repeated }) => !optional && !repeated).length
  const most = command.operands.some(({ repeated }) => repeated) ? Number.POSITIVE_INFINITY : command.operands.length
  if (positionals.length < least) {
    throw new UsageError(
      `${name} needs ${command.operands[positionals.length]?.name}; usage: ${PROGRAM} ${command.usage}`,
    )
  }
  if (positionals.length > most) {
    throw new UsageError(`the operand '${positionals[most]}' is one too many; usage: ${PROGRAM} ${command.usage}`)
  }
  const progress = new Progress(values.quiet === true)
  try {
    await command.run({ values, positionals, json, progress, commands: loadCommands, answer, answerList })
  } finally {
    progress.end()
  }
}

/** Reports an error once: a failed output is reported by its writer and as an event, in either order. */
function fail(error: unknown): void {
  if (process.exitCode !== undefined) return
  if (error instanceof Refused) {
    process.exitCode = NO
  } else if (error instanceof DomainBuilderError) {
    process.exitCode = running?.command?.errorStatus ?? EXIT_STATUS[error.code]
    if (json) printAnswer('error', { error })
    say(`${PROGRAM}: ${error.code}: ${error.message}`)
  } else if (error instanceof UsageError) {
    process.exitCode = TROUBLE
    if (json) printAnswer('error', { error })
    say(`${PROGRAM}: ${error.message}`)
    say(`Try '${PROGRAM} ${running ? `${running.name} ` : ''}--help'.`)
  } else {
    // A bug in our code: its report needs the stack.
    process.exitCode = TROUBLE
    if (json) printAnswer('error', { error: { code: 'internal', message: String(error) } })
    sayStack(error instanceof Error ? String(error.stack) : String(error))
  }
}

/**
 * A reader that goes away (`| head`) has all the text it wanted, so EPIPE is ignored here. The writer of a snapshot
 * gets the error too, and half a snapshot is an error.
 */
onOutputError((error) => {
  if (error.code !== 'EPIPE') fail(cannotWrite(STANDARD_OUTPUT, error))
})

main().catch(fail)
