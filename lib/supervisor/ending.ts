/**
 * How a run under the supervisor ends: the byte that it writes to QEMU's isa-debug-exit, and the last line on the
 * serial port. Written and read here.
 *
 * Source: QEMU docs, isa-debug-exit (port 0xf4 is its users' usual one); xen/include/public/sched.h for the reasons.
 * Gotcha: QEMU's own exit status is twice the byte plus one.
 */
import { SHUTDOWN } from '../abi/hypercall.js'

/** The bytes: a shutdown's is this plus its reason. */
export const ENDED_BY = { shutdown: 0x10, hypercall: 0x20, exception: 0x21 } as const

/** The parts of the lines that tell the cause of the other two. */
export const LACKS_LINE = {
  start: '\nxdb: the supervisor lacks hypercall ',
  command: ' ',
  number: ' (',
  end: ')\n',
} as const
export const EXCEPTION_LINE = {
  start: '\nxdb: exception ',
  rip: ' at 0x',
  cr2: ', cr2 0x',
  error: ', error ',
  end: '\n',
} as const

/** How a guest ended under the supervisor. */
export type SupervisedEnding =
  | { readonly kind: 'shutdown'; readonly reason: keyof typeof SHUTDOWN }
  /** The hypercall that the supervisor lacks; with its command, such as `mmuext_op 13`, if it has others of it. */
  | { readonly kind: 'hypercall'; readonly name: string }
  | { readonly kind: 'exception'; readonly vector: number; readonly rip: bigint }

/** The ending, and the console without the supervisor's own last line. */
export interface SupervisedEnd {
  readonly ending: SupervisedEnding
  readonly console: string
}

const LACKS = /\nxdb: the supervisor lacks hypercall ([a-z_]+(?: \d+)?) \(\d+\)\r?\n$/
const EXCEPTION = /\nxdb: exception (\d+) at 0x([0-9a-f]+), cr2 0x[0-9a-f]+, error \d+\r?\n$/

/**
 * Returns how a supervised guest ended; undefined if the supervisor did not end it.
 * @param code the byte written to isa-debug-exit, port 0xf4.
 * @param console everything that came out of the serial port.
 */
export function supervisedEnd(code: number, console: string): SupervisedEnd | undefined {
  const reason = Object.entries(SHUTDOWN).find(([, number]) => code === ENDED_BY.shutdown + number)?.[0]
  if (reason !== undefined) return { ending: { kind: 'shutdown', reason: reason as keyof typeof SHUTDOWN }, console }
  const lacks = code === ENDED_BY.hypercall ? LACKS.exec(console) : null
  if (lacks) return { ending: { kind: 'hypercall', name: lacks[1] as string }, console: console.slice(0, lacks.index) }
  const exception = code === ENDED_BY.exception ? EXCEPTION.exec(console) : null
  if (!exception) return undefined
  const [, vector, rip] = exception
  return {
    ending: { kind: 'exception', vector: Number(vector), rip: BigInt(`0x${rip}`) },
    console: console.slice(0, exception.index),
  }
}
