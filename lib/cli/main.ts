#!/usr/bin/env node
/**
 * The command: arguments in, exit code out (0 done, 1 the input was refused, 2 usage).
 *
 * Source: https://nodejs.org/api/util.html#utilparseargsconfig
 * Gotcha: only what a command needs is loaded, so that --help costs little more than starting Node.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { DomainBuilderError } from '../errors.js'
import { type Command, Refused, UsageError } from './command.js'
import { helpText } from './help.js'
import { Progress } from './progress.js'

const COMMANDS: Readonly<Record<string, { summary: string; load: () => Promise<{ command: Command }> }>> = {
  inspect: { summary: 'says what a kernel or a snapshot holds', load: () => import('./inspect.js') },
  check: { summary: 'says how a kernel can boot, or why it cannot', load: () => import('./check.js') },
  extract: { summary: 'takes the ELF out of a bzImage or a compressed file', load: () => import('./extract.js') },
  map: { summary: 'shows the layout of a guest', load: () => import('./map.js') },
  validate: { summary: "says whether Xen would accept a guest's page tables", load: () => import('./validate.js') },
  build: { summary: 'builds a guest and writes a snapshot', load: () => import('./build.js') },
  convert: { summary: 'writes a snapshot in another format', load: () => import('./convert.js') },
  read: { summary: 'bytes of a guest, by physical or virtual address', load: () => import('./read.js') },
  diff: { summary: 'what differs between two snapshots or two kernels', load: () => import('./diff.js') },
  run: { summary: 'starts a qemu snapshot', load: () => import('./run.js') },
}

const PROGRAM = 'xen-domain-builder'

const HELP = `Usage: ${PROGRAM} COMMAND [options] (or xdb for short)

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`)
  .join('\n')}

Everywhere: --json (one JSON value on stdout), --quiet (no progress), --help, --version; - is standard input.
Exit code: 0 done, 1 the input was refused, 2 usage.`

const COMMON = {
  json: { type: 'boolean' },
  quiet: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

async function main(argv: readonly string[]): Promise<void> {
  const [name, ...rest] = argv
  if (name === '--version') return print(version())
  if (name === '--help' || name === '-h' || name === 'help') return print(HELP)
  if (name === undefined) throw new UsageError('no command given')
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!found) throw new UsageError(`no command '${name}'`)
  const { command } = await found.load()
  const { values, positionals } = parse(command, rest)
  if (values.help) return print(...helpText(PROGRAM, command))
  const [least, most] = command.operands
  if (positionals.length < least || positionals.length > most)
    throw new UsageError(`usage: ${PROGRAM} ${command.usage}`)
  const progress = new Progress(process.stderr.isTTY === true && values.quiet !== true)
  try {
    await command.run({ values, positionals, json: values.json === true, progress, print })
  } finally {
    progress.end()
  }
}

function parse(command: Command, args: string[]) {
  try {
    return parseArgs({ args, options: { ...COMMON, ...command.options }, allowPositionals: true, strict: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error))
  }
}

function print(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** A reader that goes away (`| head`) is no error of ours. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof DomainBuilderError) {
    process.stderr.write(`${PROGRAM}: ${error.code}: ${error.message}\n`)
    process.exitCode = 1
  } else if (error instanceof Refused) {
    process.exitCode = 1
  } else if (error instanceof UsageError) {
    process.stderr.write(`${PROGRAM}: ${error.message}\nTry '${PROGRAM} --help'.\n`)
    process.exitCode = 2
  } else {
    throw error
  }
})
