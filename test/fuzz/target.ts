/**
 * A target: what a fuzzer gives bytes to, and how it says that an answer is wrong.
 *
 * Source: https://llvm.org/docs/LibFuzzer.html#fuzz-target
 * Gotcha: what `run` does depends on its bytes alone, so that a finding is one again when it is run alone.
 */

export interface Target {
  readonly name: string
  /** Executions of a run that nobody gave a length. */
  readonly executions: number
  /** No input is longer. */
  readonly maxBytes: number
  /** Pieces of the format that chance would not find. */
  readonly tokens?: readonly (string | Uint8Array)[]
  /** What is not installed, for a target that needs another program. */
  missing?(): Promise<string | undefined>
  /** Valid inputs, which all others are made of. */
  seeds(): Promise<readonly Uint8Array[]>
  /** Refuses bad input by DomainBuilderError. Anything else that it throws is a finding. */
  run(bytes: Uint8Array): void | Promise<void>
  /** Ends what it started. */
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
