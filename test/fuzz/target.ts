/**
 * A target: a function that takes the fuzzer's bytes, and the error for a wrong answer.
 *
 * Source: https://llvm.org/docs/LibFuzzer.html#fuzz-target
 * Gotcha: a finding cannot be repeated if `run` depends on anything but its bytes.
 */

export interface Target {
  readonly name: string
  /** The default number of executions of a run. */
  readonly executions: number
  /** The length of the longest input. */
  readonly maxBytes: number
  /** Byte sequences of the format that chance would not find. */
  readonly tokens?: readonly (string | Uint8Array)[]
  /** Returns the reason if a program that the target needs is missing. */
  missing?(): Promise<string | undefined>
  /** Valid inputs, from which all others are made. */
  seeds(): Promise<readonly Uint8Array[]>
  /** Runs the target; refuses bad input with DomainBuilderError. Any other error is a finding. */
  run(bytes: Uint8Array): void | Promise<void>
  /** Ends the processes that it started. */
  close?(): void
}

/** An answer that differs from a peer's. */
export class WrongAnswer extends Error {
  override readonly name = 'WrongAnswer'
}

/** @throws WrongAnswer unless the bytes are the same. */
export function expectSame(found: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(found, wanted) === 0) return
  const at = found.findIndex((byte, index) => byte !== wanted[index])
  throw new WrongAnswer(
    `${what}: ${found.length} bytes instead of ${wanted.length}, the first difference at ${at < 0 ? found.length : at}`,
  )
}
