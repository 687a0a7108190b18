/**
 * Runs a target in a separate process; a crash or a hang is a finding like any other.
 *
 * Source: https://nodejs.org/api/child_process.html#child_processforkmodulepath-args-options
 * Gotcha: results that depend on the clock could not be repeated. The clock only decides when a silent child is ended.
 */
import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Message, Task } from './child.js'
import type { Finding, Report } from './fuzzer.js'
import { lastInput } from './journal.js'

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url))
const SILENCE_MS = 120_000
const HEAP_MIB = 1024

export async function fuzzInChild(task: Omit<Task, 'journal'>): Promise<Report> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fuzz-'))
  const journal = path.join(folder, 'input')
  const child = fork(CHILD, [JSON.stringify({ ...task, journal } satisfies Task)], {
    execArgv: ['--no-flush-bytecode', `--max-old-space-size=${HEAP_MIB}`],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let [said, isSilent] = ['', false]
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    said = (said + text).slice(-10_000)
  })
  return new Promise((resolve) => {
    let report: Report | undefined
    const end = () => {
      isSilent = true
      child.kill('SIGKILL')
    }
    let timer = setTimeout(end, SILENCE_MS)
    child.on('message', (message: Message) => {
      clearTimeout(timer)
      if ('report' in message) report = message.report
      else timer = setTimeout(end, SILENCE_MS)
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve(report ?? died(lastInput(journal), isSilent ? undefined : reason(code, signal, said)))
      rmSync(folder, { recursive: true, force: true })
    })
  })
}

function reason(code: number | null, signal: string | null, said: string): string {
  const line = said.split('\n').find((one) => /error|fatal/i.test(one)) ?? ''
  return `the process ended by ${signal ?? `status ${code}`}: ${line.trim()}`
}

function died(input: Uint8Array, message?: string): Report {
  const finding: Finding =
    message === undefined
      ? { kind: 'bound', message: `more than ${SILENCE_MS / 1000} s`, input }
      : { kind: 'escape', message, input }
  return { executions: 0, refused: 0, corpus: 0, covered: 0, cpu: 0, findings: [finding], digest: 0 }
}
