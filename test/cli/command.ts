/**
 * Runs the command for tests: compiled, in a separate process, since streams and exit status are the contract.
 *
 * Source: docs/commands.md.
 * Gotcha: tap hooks itself into every Node process that a test starts, which takes longer than the command itself.
 * env(1) removes tap's variable. Each answer to --json is checked against its schema here, in every test.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { EXIT_STATUS } from '../../lib/cli/exit-status.js'
import type { ErrorCode } from '../../lib/errors.js'
import { requireAnswer } from './answers.js'

/** The command as it is published: one file, which starts in less than half of the time. */
export const MAIN = fileURLToPath(new URL('../../package/cli/main.js', import.meta.url))
/** The same in its modules, for a test that replaces one of them. */
export const MAIN_IN_MODULES = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url))

/** Characters that no answer and no message may have, except ends of lines. */
export const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

export interface Ran {
  readonly code: number | null
  readonly out: Buffer
  /** `out` as text. */
  readonly text: string
  readonly err: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly input?: Uint8Array | string
  /** Options of Node. */
  readonly node?: readonly string[]
  /** More variables of the environment. */
  readonly env?: Readonly<Record<string, string>>
}

/** Runs the command. @throws Error if an answer to --json breaks its contract. */
export function runCommand(args: readonly string[], { cwd, input = '', node = [], env = {} }: RunOptions = {}): Ran {
  const main = node.includes('--import') ? MAIN_IN_MODULES : MAIN
  const ran = spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, ...node, main, ...args], {
    cwd,
    input,
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 28,
  })
  const [text, err] = [ran.stdout.toString(), ran.stderr.toString()]
  const ours = args.includes('--') ? args.slice(0, args.indexOf('--')) : args
  if (ours.includes('--json')) checkAnswer(args, ran.status, text)
  return { code: ran.status, out: ran.stdout, text, err }
}

function checkAnswer(args: readonly string[], status: number | null, text: string): void {
  const fault = (why: string): Error => new Error(`${args.join(' ')}: ${why}`)
  if (UNSAFE.test(text.replaceAll('\n', ''))) throw fault('a control character is not escaped')
  const { schema, error } = requireAnswer(text)
  if (schema !== 'xen-domain-builder/error/1') {
    if (status !== 0 && status !== 1) throw fault(`${schema} with exit status ${status}`)
    return
  }
  const { code } = error as { code: ErrorCode | 'usage' | 'internal' }
  if (code === 'internal') throw fault(`a fault of the library: ${text}`)
  const wanted = code === 'usage' || args.includes('diff') ? 2 : EXIT_STATUS[code]
  if (status !== wanted) throw fault(`${code} with exit status ${status}, not ${wanted}`)
}
