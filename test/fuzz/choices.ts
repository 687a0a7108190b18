/**
 * An input as a sequence of choices, from which a structure is made; the fuzzer changes its bytes.
 *
 * Source: https://llvm.org/docs/LibFuzzer.html, FuzzedDataProvider.
 * Gotcha: an input that is too short must not fail. After the last byte, every choice is the first one.
 */
export class Choices {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isOver(): boolean {
    return this.#at >= this.#bytes.length
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0
  }

  /** Returns an integer, 0 <= n < limit <= 256. */
  below(limit: number): number {
    return this.byte() % limit
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T
  }

  u64(): bigint {
    let value = 0n
    for (let i = 0n; i < 64n; i += 8n) value |= BigInt(this.byte()) << i
    return value
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.byte())
  }
}
