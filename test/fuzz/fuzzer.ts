/**
 * The fuzzer: runs a target on inputs that it makes, keeps those that reach new code, and collects faults.
 *
 * Source: the bounds are our own rule: one error class, one printable line, time and memory by the size of the input.
 * Gotcha: coverage is taken once a batch, since taking it for each input is slow. A batch that reached new code is
 * halved until the inputs that did are found.
 */
import { DomainBuilderError } from '../../lib/errors.js'
import { Random } from '../fixtures/random.js'
import type { Coverage } from './coverage.js'
import { mutated } from './mutate.js'
import { type Target, WrongAnswer } from './target.js'

/** The end of a run: after a fixed number of executions, which makes runs equal, or after a time. */
export type Length = { readonly executions: number } | { readonly seconds: number }

export const KINDS = ['escape', 'bound', 'wrong'] as const
/** An error that is not a DomainBuilderError; too much time or memory; an answer that differs from a peer's. */
export type Kind = (typeof KINDS)[number]

export interface Finding {
  readonly kind: Kind
  readonly message: string
  /** The shortest input found that shows the fault. */
  readonly input: Uint8Array
}

export interface Report {
  readonly executions: number
  /** The number of inputs that were refused. */
  readonly refused: number
  /** The number of inputs that reached new code. */
  readonly corpus: number
  /** The number of characters of code that were reached. */
  readonly covered: number
  /** Findings, one for each message. */
  readonly findings: readonly Finding[]
  /** Seconds of processor time, of all threads. */
  readonly cpu: number
  /** A digest of all executed inputs, in order; equal digests mean equal runs. */
  readonly digest: number
}

export interface Options {
  readonly seed: number
  readonly length: Length
  /** Guides the fuzzer; without it, the corpus is only the seeds. */
  readonly coverage?: Coverage
  /** Receives each input before it is executed. */
  readonly onInput?: (bytes: Uint8Array) => void
}

const BATCH = 64
const CPU_MICROSECONDS = 1_000_000
const MEMORY_BYTES = 256 * 2 ** 20
/** The limit of executions for shortening one finding. */
const SHORTENING = 300

/** Errors of the engine for faults in code, not in input; invalid even as the cause of a refusal. */
const DEFECTS = [RangeError, TypeError, ReferenceError, WebAssembly.RuntimeError]

interface Fault {
  readonly kind: Kind
  readonly message: string
  /** Equal for inputs that show the same fault. */
  readonly signature: string
}

export async function fuzz(target: Target, { seed, length, coverage, onInput }: Options): Promise<Report> {
  const start = process.cpuUsage()
  const random = new Random(seed)
  const encoder = new TextEncoder()
  const tokens = (target.tokens ?? []).map((token) => (typeof token === 'string' ? encoder.encode(token) : token))
  const mutator = { random, tokens, maxBytes: target.maxBytes }
  const seeds = await target.seeds()
  const corpus = [...seeds]
  const findings = new Map<string, Finding>()
  const [end, deadline] = 'seconds' in length ? [Infinity, Date.now() + 1000 * length.seconds] : [length.executions]
  let [executions, refused, digest] = [0, 0, 0]

  const execute = async (bytes: Uint8Array): Promise<Fault | 'refused' | undefined> => {
    onInput?.(bytes)
    return outcome(target, bytes)
  }
  const count = async (bytes: Uint8Array): Promise<void> => {
    executions++
    digest = digestOf(digest, bytes)
    const fault = await execute(bytes)
    if (fault === 'refused') refused++
    else if (fault !== undefined && !findings.has(fault.signature)) {
      const input = await shortened(bytes, fault, execute)
      findings.set(fault.signature, { kind: fault.kind, message: fault.message, input })
    }
  }
  /** Keeps the inputs that reach new code; at least one of them does. */
  const keepNew = async (inputs: readonly Uint8Array[], reach: Coverage): Promise<void> => {
    const middle = inputs.length >> 1
    for (const some of inputs.length === 1 ? [inputs] : [inputs.slice(0, middle), inputs.slice(middle)]) {
      for (const bytes of some) await execute(bytes)
      const painted = reach.take()
      if (!reach.isNew(painted)) continue
      if (some.length > 1) await keepNew(some, reach)
      else {
        corpus.push(some[0] as Uint8Array)
        reach.learn(painted)
      }
    }
  }
  const runBatch = async (inputs: readonly Uint8Array[]): Promise<void> => {
    for (const bytes of inputs) await count(bytes)
    const painted = coverage?.take()
    if (coverage === undefined || painted === undefined || !coverage.isNew(painted)) return
    await keepNew(inputs, coverage)
    // Code that ran once and never again, such as the first use of a lazily made table, belongs to no input.
    coverage.learn(painted)
  }

  coverage?.take()
  // The seeds are in the corpus already.
  for (const bytes of seeds) await count(bytes)
  if (coverage) coverage.learn(coverage.take())
  while (executions < end && (deadline === undefined || Date.now() < deadline)) {
    const size = Math.min(BATCH, end - executions)
    await runBatch(Array.from({ length: size }, () => mutated(corpus, mutator)))
  }
  const { user, system } = process.cpuUsage(start)
  return {
    executions,
    refused,
    corpus: corpus.length,
    covered: coverage?.size ?? 0,
    findings: [...findings.values()],
    digest,
    cpu: (user + system) / 1e6,
  }
}

/** Runs one input. */
async function outcome(target: Target, bytes: Uint8Array): Promise<Fault | 'refused' | undefined> {
  const before = process.resourceUsage()
  const { arrayBuffers } = process.memoryUsage()
  let result: Fault | 'refused' | undefined
  try {
    await target.run(bytes)
  } catch (error) {
    result = faultOf(error) ?? 'refused'
  }
  if (typeof result === 'object') return result
  const after = process.resourceUsage()
  const cpu = after.userCPUTime - before.userCPUTime + after.systemCPUTime - before.systemCPUTime
  if (cpu > CPU_MICROSECONDS) return bound(`${(cpu / 1e6).toFixed(1)} s of processor time`, 'time')
  const grown = Math.max((after.maxRSS - before.maxRSS) * 1024, process.memoryUsage().arrayBuffers - arrayBuffers)
  if (grown > MEMORY_BYTES) return bound(`${Math.round(grown / 2 ** 20)} MiB of memory`, 'memory')
  return result
}

const bound = (message: string, signature: string): Fault => ({
  kind: 'bound',
  message,
  signature: `bound ${signature}`,
})

/** Returns the fault of an error, or undefined for a proper refusal. */
function faultOf(error: unknown): Fault | undefined {
  if (error instanceof WrongAnswer)
    return { kind: 'wrong', message: error.message, signature: withoutNumbers(error.message) }
  if (!(error instanceof DomainBuilderError)) return escaped(error)
  if (DEFECTS.some((defect) => error.cause instanceof defect)) return escaped(error.cause)
  if (!/[\p{Cc}\u2028\u2029]/u.test(error.message)) return undefined
  const message = `not one printable line: ${JSON.stringify(error.message)}`
  return { kind: 'escape', message, signature: withoutNumbers(message) }
}

function escaped(error: unknown): Fault {
  const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  const place =
    error instanceof Error ? (/\bat .*\/dist\/(?!test\/fuzz\/fuzzer)[^\n]*/.exec(error.stack ?? '')?.[0] ?? '') : ''
  return { kind: 'escape', message: `${said} ${place}`.trim(), signature: `${withoutNumbers(said)} ${place}` }
}

const withoutNumbers = (text: string): string => text.replace(/(?:0x)?[0-9a-f]*\d[0-9a-f]*/g, '#')

/** Cuts halves, quarters and so on out of the input as long as the fault stays the same. */
async function shortened(
  bytes: Uint8Array,
  { kind, signature }: Fault,
  execute: (bytes: Uint8Array) => Promise<Fault | 'refused' | undefined>,
): Promise<Uint8Array> {
  // An input that takes long takes too long to be tried many times.
  if (kind === 'bound') return bytes
  let best = bytes
  let left = SHORTENING
  for (let size = best.length; size >= 1 && left > 0; size = Math.floor(size / 2)) {
    // From the end, where a cut moves no other bytes.
    for (let start = best.length - size; start >= 0 && left > 0; start -= size) {
      const shorter = new Uint8Array(best.length - size)
      shorter.set(best.subarray(0, start))
      shorter.set(best.subarray(start + size), start)
      left--
      const found = await execute(shorter)
      if (typeof found === 'object' && found.signature === signature) best = shorter
    }
  }
  return best
}

/** The FNV-1a hash of all inputs. */
function digestOf(digest: number, bytes: Uint8Array): number {
  let hash = digest ^ 0x811c9dc5 ^ bytes.length
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
