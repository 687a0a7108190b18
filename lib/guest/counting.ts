/**
 * Lists of u64 entries that count up, as p2m lists and page lists do: written, and recognised.
 *
 * Source: WebAssembly Core Specification 1.0, https://www.w3.org/TR/wasm-core-1/; ../codec/wasm.ts assembles it.
 * Gotcha: a 64 GiB guest has 33 million entries. JavaScript takes two 32-bit stores for each, which is three times as long,
 * and as long again before V8 has optimised the loop.
 */
import { machineMemory, machineOf } from '../codec/machine.js'
import { Func, i32, i64, WASM_PAGE } from '../codec/wasm.js'
import { lazy } from '../lazy.js'

/** Bytes of an entry. */
export const ENTRY_BYTES = 8
/** Bytes that are filled at a time: they stay in the processor's cache until they are copied. */
const AT_ONCE = WASM_PAGE

interface Machine {
  /** Fills [0, end) with entries that count up from `first`. */
  count(end: number, first: bigint): void
  /** The end of the entries from `at` on that count up from `first`, at most `end`. */
  follow(at: number, end: number, first: bigint): number
}

const machineOver = machineOf<Machine>(() => {
  const count = new Func('count', ['i32', 'i64'])
  const follow = new Func('follow', ['i32', 'i32', 'i64'], 'i32')
  const [next, at] = [count.local('i32'), follow.param(0, 'i32')]
  const [filled, value] = [count.param(0, 'i32'), count.param(1, 'i64')]
  const [end, wanted] = [follow.param(1, 'i32'), follow.param(2, 'i64')]
  const [one, entry] = [i64.const(1), i32.const(ENTRY_BYTES)]
  return [
    {
      func: count,
      body: count.block((done) =>
        count.loop((again) => [
          done.jumpIf(i32.geU(next, filled)),
          i64.store(next, value),
          value.set(i64.add(value, one)),
          next.set(i32.add(next, entry)),
          again.jump(),
        ]),
      ),
    },
    {
      func: follow,
      body: [
        follow.block((done) =>
          follow.loop((again) => [
            done.jumpIf(i32.geU(at, end)),
            done.jumpIf(i64.ne(i64.load(at), wanted)),
            wanted.set(i64.add(wanted, one)),
            at.set(i32.add(at, entry)),
            again.jump(),
          ]),
        ),
        at,
      ],
    },
  ]
})

const writer = lazy(() => {
  const memory = machineMemory(AT_ONCE / WASM_PAGE)
  return { machine: machineOver(memory), bytes: new Uint8Array(memory.buffer) }
})

/** Fills all of `out`, a multiple of 8 bytes, with entries that count up from `first`. */
export function fillCounting(out: Uint8Array, first: bigint): void {
  const { machine, bytes } = writer()
  for (let done = 0; done < out.length; done += AT_ONCE) {
    const length = Math.min(AT_ONCE, out.length - done)
    machine.count(length, first + BigInt(done / ENTRY_BYTES))
    out.set(bytes.subarray(0, length), done)
  }
}

/** A list of entries that is read in, and looked through by runs that count up. */
export class CountingList {
  readonly #memory = machineMemory(1)
  readonly #machine = machineOver(this.#memory)
  #words = new Uint32Array(this.#memory.buffer)

  /** Memory for so many entries, to read them into. Its previous content is lost. */
  room(entries: number): Uint8Array {
    const missing = Math.ceil((entries * ENTRY_BYTES - this.#memory.buffer.byteLength) / WASM_PAGE)
    if (missing > 0) {
      this.#memory.grow(missing)
      this.#words = new Uint32Array(this.#memory.buffer)
    }
    return new Uint8Array(this.#memory.buffer, 0, entries * ENTRY_BYTES)
  }

  /** The lower word of an entry, by its index. */
  low(index: number): number {
    return this.#words[2 * index] as number
  }

  /** The upper word of an entry, by its index. */
  high(index: number): number {
    return this.#words[2 * index + 1] as number
  }

  /** The index after the entries from `index` on, below `end`, each of which is one more than the entry before it. */
  endOfRun(index: number, end: number): number {
    const first = (BigInt(this.high(index)) << 32n) | BigInt(this.low(index))
    return this.#machine.follow(index * ENTRY_BYTES, end * ENTRY_BYTES, first) / ENTRY_BYTES
  }
}
