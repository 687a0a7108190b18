/**
 * The name of a process: its number and the time when it started, since numbers are used again.
 *
 * Source: proc(5), /proc/PID/stat.
 * Gotcha: the name of the program in that file may contain spaces and parentheses. The fields follow its last one.
 */
import { readFileSync } from 'node:fs'

/** The place of the state, and of the start in clock ticks after the boot, among the fields after the program's name. */
const STATE = 0
const START = 19
/** States of a process that has ended. */
const ENDED: readonly (string | undefined)[] = ['Z', 'X', 'x']

/** Returns the name of a process that runs; undefined for another one. */
function nameOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return ENDED.includes(fields[STATE]) ? undefined : `${pid}:${fields[START]}`
  } catch {
    return undefined
  }
}

/** Returns the name of this process. */
export const ownProcess = (): string => nameOf(process.pid) ?? `${process.pid}:0`

/** Returns whether the process of that name still runs. */
export function isRunning(name: string): boolean {
  const pid = /^(\d{1,10}):\d+$/.exec(name)?.[1]
  return pid !== undefined && nameOf(Number(pid)) === name
}
