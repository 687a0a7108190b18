#!/usr/bin/env node
/**
 * The command: arguments in, exit code out (0 done, 1 the input was refused, 2 usage).
 *
 * Source: https://nodejs.org/api/util.html#utilparseargsconfig
 * Gotcha: only what a command needs is loaded, so that --help costs little more than starting Node.
 */
import { readFileSync } from 'node:fs'
import { didYouMean } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import { cannotWrite } from '../node/refusal.js'
import { parseArguments } from './arguments.js'
import { Refused, UsageError } from './command.js'
import { COMMANDS, PROGRAM, SHORT_NAME } from './commands.js'
import { STANDARD_OUTPUT } from './files.js'
import { helpText } from './help.js'
import { Progress } from './progress.js'

const HELP = `Usage: ${PROGRAM} COMMAND [options] (or ${SHORT_NAME} for short)

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(12)}${summary}`)
  .join('\n')}

Everywhere: --json (one JSON value on stdout), --quiet (no progress), --help, --version; - is standard input.
Exit code: 0 done, 1 the input was refused, 2 usage.`

function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

/** The command being run, once it is known: its help is where to look when it was typed wrong. */
let running = ''

async function main(argv: readonly string[]): Promise<void> {
  if (argv[0] === '--version') return print(version())
  if (argv[0] === '--help' || argv[0] === '-h' || (argv[0] === 'help' && argv.length === 1)) return print(HELP)
  const [name, ...rest] = argv[0] === 'help' ? [...argv.slice(1, 2), '--help'] : argv
  if (name === undefined) throw new UsageError('no command given')
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!found && name.startsWith('-')) throw new UsageError(`the command comes first, before '${name}'`)
  if (!found) throw new UsageError(`no command '${name}'${didYouMean(name, Object.keys(COMMANDS))}`)
  running = `${name} `
  const { command } = await found.load()
  const { values, positionals } = parseArguments(name, command, rest)
  if (values.help) return print(...helpText(PROGRAM, command))
  if (values.version) return print(version())
  const least = command.operands.filter(({ optional, repeated }) => !optional && !repeated).length
  const most = command.operands.some(({ repeated }) => repeated) ? Number.POSITIVE_INFINITY : command.operands.length
  if (positionals.length < least) {
    throw new UsageError(
      `${name} needs ${command.operands[positionals.length]?.name}; usage: ${PROGRAM} ${command.usage}`,
    )
  }
  if (positionals.length > most) {
    throw new UsageError(`'${positionals[most]}' is one too many; usage: ${PROGRAM} ${command.usage}`)
  }
  const progress = new Progress(process.stderr.isTTY === true && values.quiet !== true)
  try {
    await command.run({ values, positionals, json: values.json === true, progress, print })
  } finally {
    progress.end()
  }
}

function print(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** Says why, once: an output that fails is heard of by its writer and as an event, in either order. */
function fail(error: unknown): void {
  if (process.exitCode !== undefined) return
  if (error instanceof DomainBuilderError) {
    process.stderr.write(`${PROGRAM}: ${error.code}: ${error.message}\n`)
    process.exitCode = 1
  } else if (error instanceof Refused) {
    process.exitCode = 1
  } else if (error instanceof UsageError) {
    process.stderr.write(`${PROGRAM}: ${error.message}\nTry '${PROGRAM} ${running}--help'.\n`)
    process.exitCode = 2
  } else {
    throw error
  }
}

/**
 * A reader that goes away (`| head`) has what it wanted of a text. Whoever writes a snapshot is told besides, and half
 * a one is an error.
 */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') fail(cannotWrite(STANDARD_OUTPUT, error))
})

main(process.argv.slice(2)).catch(fail)
