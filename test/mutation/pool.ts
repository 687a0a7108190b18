/**
 * A process that runs bundled tests, and is replaced when a mutant takes it down.
 *
 * Source: https://nodejs.org/api/child_process.html#child_processforkmodulepath-args-options; proc(5), /proc/PID/stat.
 * Gotcha: time on the clock says little on a busy machine, so the limit is processor time where the system tells it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Answer, Message, Task } from './child.js'

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url))
const POLL_MS = 100
const HEAP_MIB = 1024
/** A test that waits for nothing uses no processor time; it ends after this many limits on the clock. */
const CLOCK_LIMITS = 20
const TICKS_PER_SECOND = 100

export class Runner {
  #child: ChildProcess | undefined

  /** Runs a task. Returns `ended` if it takes more processor time than the limit in ms, or ends the process. */
  run(task: Task, limit: number): Promise<Answer | 'ended'> {
    this.#child ??= fork(CHILD, {
      execArgv: [`--max-old-space-size=${HEAP_MIB}`],
      stdio: ['ignore', 'ignore', process.env.DEBUG_CHILD ? 'inherit' : 'ignore', 'ipc'],
    })
    const child = this.#child
    const [cpu, clock] = [cpuOf(child), performance.now()]
    return new Promise((resolve) => {
      const settle = (answer: Answer | 'ended') => {
        clearInterval(timer)
        child.removeAllListeners()
        if (answer === 'ended') this.close()
        resolve(answer)
      }
      const timer = setInterval(() => {
        const onClock = performance.now() - clock
        const used = cpuOf(child)
        const isOver = used === undefined || cpu === undefined ? onClock > limit : used - cpu > limit
        if (isOver || onClock > CLOCK_LIMITS * limit) settle('ended')
      }, POLL_MS)
      child.on('message', ({ answer }: Message) => {
        if (answer !== undefined) settle(answer)
      })
      child.on('exit', () => settle('ended'))
      child.send(task)
    })
  }

  close(): void {
    this.#child?.kill('SIGKILL')
    this.#child = undefined
  }
}

/** Returns the processor time of a process in ms, where the system tells it. */
function cpuOf({ pid }: ChildProcess): number | undefined {
  try {
    // The second field is a name in parentheses, which may have spaces.
    const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(/\) (?=\S )/)
    const [user, system] = rest.split(' ').slice(11, 13).map(Number)
    return (((user as number) + (system as number)) * 1000) / TICKS_PER_SECOND
  } catch {
    return undefined
  }
}
