/**
 * Types a page as a newcomer does: in one shell, from first line to last, creating each file where the page has it.
 *
 * Source: bash(1).
 * Gotcha: a command that reads standard input would consume the next lines, so the shell reads a script instead.
 */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { npmEnvironment } from '../peer/npm.js'
import type { Block, Command } from './blocks.js'

/** A command that was typed, and its result. */
export interface Typed extends Command {
  /** Undefined if the shell ended before. */
  readonly status: number | undefined
  readonly output: string
}

/**
 * Returns the environment of a fresh shell: without the variables that npm, tap and a CI set for their processes. With
 * CI set, vitest would refuse to write a first golden file.
 */
export function cleanEnvironment(directory: string): NodeJS.ProcessEnv {
  const environment = npmEnvironment()
  const inherited = Object.entries(environment).filter(
    ([name]) => !/^(npm_|TAP|NODE_TEST|_TAPJS|DEBUG|FORCE_COLOR|CI$)/i.test(name),
  )
  return {
    ...Object.fromEntries(inherited),
    LC_ALL: 'C.UTF-8',
    NO_COLOR: '1',
    PATH: `${join(directory, 'node_modules/.bin')}:${process.env.PATH}`,
    // The same commands, with less output and fewer requests to the network.
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_loglevel: 'error',
    npm_config_prefer_offline: 'true',
    npm_config_update_notifier: 'false',
    npm_config_cache: environment.npm_config_cache,
  }
}

const MINUTES = 60_000

/** Types every command, even those for another machine. @param start the directory, if not `directory` itself. */
export function typeBlocks(blocks: readonly Block[], directory: string, start = directory): Typed[] {
  const mark = `-${randomUUID()}-`
  const typed = blocks.flatMap((block) => (block.kind === 'session' ? block.commands : []))
  const script = blocks.flatMap((block) =>
    block.kind === 'file'
      ? [`cat >${block.name} <<'${mark}'`, block.text.replace(/\n$/, ''), mark]
      : block.commands.flatMap(({ command }) => [
          command,
          `status=$?; printf '\\n%s%s\\n' '${mark}' $status; (exit $status)`,
        ]),
  )
  const file = join(directory, '.session')
  writeFileSync(file, `${['exec 2>&1', ...script].join('\n')}\n`)
  const { stdout } = spawnSync('bash', [file], {
    cwd: start,
    env: cleanEnvironment(directory),
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: 8 * MINUTES,
  })
  // Each piece begins with the status of the command before it.
  const pieces = stdout.split(`\n${mark}`)
  return typed.map((command, i) => {
    const output = (pieces[i] ?? '').replace(/^\d+\n/, '')
    const status = /^(\d+)\n/.exec(pieces[i + 1] ?? '')?.[1]
    return {
      ...command,
      output: i === 0 ? (pieces[0] ?? '') : output,
      status: status === undefined ? undefined : Number(status),
    }
  })
}
