/**
 * A shell at a terminal, as a person uses it: keys go in, the output for the screen comes out.
 *
 * Source: script(1) of util-linux, which makes the terminal.
 * Gotcha: a shell echoes its input, so the awaited text must not be in the keys. The keys DO''NE print DONE when run.
 */
import { spawn } from 'node:child_process'

export interface Terminal {
  /** Sends keys, and returns the output since then, up to and including the awaited text. */
  type(keys: string, awaited: RegExp): Promise<string>
  end(): Promise<void>
}

/** The program that makes a terminal, and its package, for findCommands(). */
export const TERMINAL = ['script', 'bsdutils'] as const

const PATIENCE = 30_000

/** Starts a command at a terminal of 200 columns. */
export function openTerminal(command: string, env: Readonly<Record<string, string>>): Terminal {
  // Without Node's own variables: tap would hook itself into every Node that the shell starts.
  const { NODE_OPTIONS, ...inherited } = process.env
  const child = spawn('script', ['-qfec', `stty cols 200 rows 60; exec ${command}`, '/dev/null'], {
    env: { ...inherited, TERM: 'xterm', LC_ALL: 'C.UTF-8', ...env },
  })
  let written = ''
  let heard = () => {}
  let ended = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    written += text
    heard()
  })
  const closed = new Promise<void>((resolve) => {
    child.on('close', () => {
      ended = true
      heard()
      resolve()
    })
  })
  return {
    type(keys, awaited) {
      const start = written.length
      child.stdin.write(keys)
      return new Promise((resolve, reject) => {
        const give = (what: () => void) => {
          clearTimeout(timer)
          heard = () => {}
          what()
        }
        const said = () => plain(written.slice(start))
        const timer = setTimeout(
          () => give(() => reject(new Error(`no ${awaited} after ${JSON.stringify(keys)}: ${said()}`))),
          PATIENCE,
        )
        heard = () => {
          if (awaited.test(said())) give(() => resolve(said()))
          else if (ended) give(() => reject(new Error(`the shell ended: ${said()}`)))
        }
        heard()
      })
    },
    async end() {
      child.stdin.end()
      child.kill('SIGHUP')
      await closed
    },
  }
}

/** Removes sequences that move the cursor or colour text. */
const plain = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's codes are such
  text.replace(/\x1b(\[[0-9;?]*[a-zA-Z]|[=>]|\][^\x07]*\x07|\(B)|[\x07\x08\x0f]/g, '').replaceAll('\r', '')
