/**
 * The functions of a machine as WebAssembly and as JavaScript: every instruction gives the same result.
 *
 * Source: the engine's WebAssembly, which is the peer.
 * Gotcha: an i64 in JavaScript is two halves, so each operand here crosses the border between them.
 */
import t, { type Test } from 'tap'
import { machineOf, PlainMemory } from '../../lib/codec/machine.js'
import { Func, type I32, type I64, i32, i64 } from '../../lib/codec/wasm.js'
import { Random } from '../fixtures/random.js'

type OfWide = (a: I64, b: I64) => I64
type OfNarrow = (a: I32, b: I32) => I32

const WIDE: Readonly<Record<string, OfWide>> = {
  ...(({ add, sub, mul, and, or, xor, shl, shrS, shrU, rotl }) => ({
    add,
    sub,
    mul,
    and,
    or,
    xor,
    shl,
    shrS,
    shrU,
    rotl,
  }))(i64),
  ne: (a, b) => i64.extend(i64.ne(a, b)),
  ltU: (a, b) => i64.extend(i64.ltU(a, b)),
  extend: (a, b) => i64.sub(i64.extend(i32.wrap(a)), b),
  'a narrow left': (a, b) => i64.sub(i64.extend(i32.wrap(a)), i64.mul(b, i64.extend(i32.wrap(b)))),
  ...Object.fromEntries(
    [0, 1, 5, 31, 32, 33, 63].flatMap((by) =>
      (['shl', 'shrS', 'shrU', 'rotl'] as const).map((name) => [
        `${name} by ${by}`,
        (a: I64) => i64[name](a, i64.const(by)),
      ]),
    ),
  ),
}
const NARROW: Readonly<Record<string, OfNarrow>> = {
  ...(({ eq, ltU, gtU, geU, add, sub, mul, and, or, xor, shl, shrS, shrU }) => ({
    eq,
    ltU,
    gtU,
    geU,
    add,
    sub,
    mul,
    and,
    or,
    xor,
    shl,
    shrS,
    shrU,
  }))(i32),
  select: (a, b) => i32.select(i32.ltU(a, b), a, i32.const(-7)),
}

/** The function over a WebAssembly memory, and over a plain one. */
function both<T>(func: Func, body: Parameters<Func['encode']>[0]): readonly T[] {
  const machine = machineOf<Record<string, T>>(() => [{ func, body }])
  return [new WebAssembly.Memory({ initial: 1 }), new PlainMemory(1)].map((memory) => machine(memory)[func.name] as T)
}

const EDGES = [0n, 1n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 0x100000000n, 2n ** 63n, 2n ** 64n - 1n]

/** Runs both forms of a function on the same pairs. */
function sameResults<T>(t: Test, name: string, forms: readonly ((a: T, b: T) => T)[], any: () => T): void {
  const pairs = Array.from({ length: 300 }, () => [any(), any()] as const)
  const [wasm, script] = forms.map((form) => pairs.map((pair) => form(...pair)))
  t.equal(forms.length, 2)
  t.same(script, wasm, name)
}

t.test('of two i64', (t) => {
  const r = new Random(1)
  const any = (): bigint =>
    r.percent(40) ? r.pick(EDGES) : (BigInt(r.integer(0, 2 ** 32 - 1)) << 32n) | BigInt(r.integer(0, 2 ** 32 - 1))
  for (const [name, make] of Object.entries(WIDE)) {
    const f = new Func('f', ['i64', 'i64'], 'i64')
    const x = f.local('i64')
    // Through a local, which is set from itself as a decoder's registers are.
    const body = [x.set(f.param(0, 'i64')), x.set(make(x, f.param(1, 'i64'))), x]
    sameResults(t, name, both<(a: bigint, b: bigint) => bigint>(f, body), any)
  }
  t.end()
})

t.test('of two i32', (t) => {
  const r = new Random(2)
  const any = (): number => (r.percent(40) ? Number(r.pick(EDGES) & 0xffffffffn) : r.integer(0, 2 ** 32 - 1))
  for (const [name, make] of Object.entries(NARROW)) {
    const f = new Func('f', ['i32', 'i32'], 'i32')
    sameResults(t, name, both<(a: number, b: number) => number>(f, make(f.param(0, 'i32'), f.param(1, 'i32'))), any)
  }
  t.end()
})

t.test('memory, loops and jumps', (t) => {
  const f = new Func('f', ['i32', 'i64'], 'i64')
  const [at, end] = [f.local('i32'), f.param(0, 'i32')]
  const [sum, value] = [f.local('i64'), f.param(1, 'i64')]
  const narrow = f.local('i64')
  const body = [
    f.block((done) =>
      f.loop((again) => [
        done.jumpIf(i32.geU(at, end)),
        i64.store(at, value, 3),
        i32.store16(at, i32.wrap(value), 1),
        i32.store8(at, i32.wrap(value)),
        i32.store(at, i32.wrap(i64.shrU(value, i64.const(8))), 9),
        narrow.set(i64.load16(at, 2)),
        narrow.set(i64.or(i64.load8(at), narrow)),
        sum.set(i64.add(i64.rotl(sum, i64.const(7)), i64.xor(i64.load(at, 1), narrow))),
        sum.set(i64.add(sum, i64.extend(i32.add(i32.load(at, 5), i32.load8(at, 4))))),
        sum.set(i64.xor(sum, i64.load32(at, 7))),
        f.if(
          i64.ltU(sum, value),
          () => value.set(i64.sub(value, narrow)),
          () => value.set(i64.mul(value, i64.const(0x9e3779b185ebca87n))),
        ),
        at.set(i32.add(at, i32.const(5))),
        again.jump(),
      ]),
    ),
    sum,
  ]
  const [wasm, script] = both<(end: number, value: bigint) => bigint>(f, body)
  for (const end of [0, 1, 100, 65000]) t.equal(script?.(end, 0x123456789abcdef0n), wasm?.(end, 0x123456789abcdef0n))
  t.throws(() => script?.(65536, 1n), RangeError, 'an access past the end throws')
  t.throws(() => wasm?.(65536, 1n), WebAssembly.RuntimeError)
  t.end()
})
