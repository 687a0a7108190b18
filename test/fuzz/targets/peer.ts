/**
 * A program that is run many times by one shell, which starts a process in a tenth of the time that Node needs.
 *
 * Source: POSIX sh; the programs' manual pages for their exit status.
 * Gotcha: a program that waits for input would block the run, so each gets a file and no more input.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import type { Readable, Writable } from 'node:stream'

const SCRIPT = 'while IFS= read -r command; do (eval "$command") <in >out 2>err; echo $?; done'

export interface Answer {
  readonly status: number
  readonly bytes: Uint8Array
  /** The first line of its output. */
  readonly said: string
}

export class PeerProgram {
  #running: { readonly folder: string; readonly shell: ChildProcessByStdio<Writable, Readable, null> } | undefined

  /** Returns the answer of the command to these bytes on its standard input. */
  async ask(command: string, input: Uint8Array): Promise<Answer> {
    const { folder, shell } = this.#start()
    writeFileSync(path.join(folder, 'in'), input)
    shell.stdin.write(`${command}\n`)
    const [answer] = await once(shell.stdout, 'data')
    const status = Number(String(answer))
    const read = (name: string) => readFileSync(path.join(folder, name))
    return { status, bytes: new Uint8Array(read('out')), said: read('err').toString().split('\n')[0] ?? '' }
  }

  /** Starts the shell at the first request. */
  #start() {
    if (this.#running === undefined) {
      const folder = mkdtempSync(path.join(tmpdir(), 'fuzz-peer-'))
      const shell = spawn('sh', ['-c', SCRIPT], { cwd: folder, stdio: ['pipe', 'pipe', 'ignore'] })
      this.#running = { folder, shell }
    }
    return this.#running
  }

  close(): void {
    if (this.#running === undefined) return
    this.#running.shell.stdin.end()
    rmSync(this.#running.folder, { recursive: true, force: true })
  }
}
