/**
 * Patterns over bytes: their syntax, what they refuse, and their matches against a slow search of every place.
 *
 * Source: the oracle follows the tree of a pattern byte by byte, with sets of places, and shares no code with the automaton.
 * Gotcha: RegExp is no oracle: it takes the first alternative that matches, not the longest one.
 */
import t from 'tap'
import type { PatternNode } from '../../lib/search/byte-tree.js'
import { type BytePattern, hexPattern, regexPattern, textPattern } from '../../lib/search/pattern.js'
import { type Piece, SEARCHED_BYTES, scan } from '../../lib/search/scan.js'
import { Random } from '../fixtures/random.js'

/** Returns the ends of the matches of a node that begin at one of the places. */
function endsOf(node: PatternNode, bytes: Uint8Array, from: ReadonlySet<number>): Set<number> {
  switch (node.kind) {
    case 'set':
      return new Set([...from].filter((at) => node.set[bytes[at] ?? 256] === 1).map((at) => at + 1))
    case 'sequence':
      return node.parts.reduce((at, part) => endsOf(part, bytes, at), new Set(from))
    case 'choice':
      return new Set(node.options.flatMap((option) => [...endsOf(option, bytes, from)]))
    case 'repeat': {
      const all = new Set<number>()
      let at = new Set(from)
      for (let count = 0; count <= node.most && at.size > 0; count++) {
        if (count >= node.least) {
          const fresh = [...at].filter((place) => !all.has(place))
          if (fresh.length === 0 && count > node.least) break
          for (const place of fresh) all.add(place)
        }
        at = endsOf(node.part, bytes, at)
      }
      return all
    }
  }
}

type Place = readonly [start: number, end: number]

/** Returns the matches by trying every place. */
function slowly({ root, longest }: BytePattern, bytes: Uint8Array): Place[] {
  const found: Place[] = []
  for (let at = 0; at < bytes.length; ) {
    const ends = [...endsOf(root, bytes.subarray(0, at + longest), new Set([at]))]
    const end = Math.max(at, ...ends)
    if (end > at) found.push([at, end])
    at = Math.max(at + 1, end)
  }
  return found
}

/** Returns the matches that scan() finds in pieces. */
function quickly(pattern: BytePattern, pieces: Iterable<Piece>): Place[] {
  const found: Place[] = []
  for (const match of scan(pattern, pieces)) {
    if (match) found.push([Number(match.address), Number(match.address) + match.bytes.length])
  }
  return found
}

/** Cuts bytes into pieces at random. */
function* cut(bytes: Uint8Array, random: Random, most: number): Generator<Piece> {
  for (let at = 0; at < bytes.length; ) {
    const start = at
    const length = Math.min(random.integer(1, most), bytes.length - at)
    const readInto = (offset: number, out: Uint8Array) =>
      out.set(bytes.subarray(start + offset, start + offset + out.length))
    yield { address: BigInt(at), length, readInto }
    at += length
  }
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

t.test('syntax', async (t) => {
  for (const [pattern, text, places] of [
    [
      textPattern('ab'),
      'xababx',
      [
        [1, 3],
        [3, 5],
      ],
    ],
    [
      textPattern('aa'),
      'aaaaa',
      [
        [0, 2],
        [2, 4],
      ],
    ],
    [textPattern('é'), 'aé', [[1, 3]]],
    [
      hexPattern('61 ?? 63'),
      'abc axc ac',
      [
        [0, 3],
        [4, 7],
      ],
    ],
    [hexPattern('6?'), 'a1', [[0, 1]]],
    [hexPattern('0x61626'.slice(2, 6)), 'zab', [[1, 3]]],
    [hexPattern('6162'), 'ab', [[0, 2]]],
    [regexPattern('a|ab|abc'), 'abcd', [[0, 3]]],
    [regexPattern('[^a-c]+'), 'abxyc', [[2, 4]]],
    [regexPattern('[]a]+'), 'b]a', [[1, 3]]],
    [regexPattern('[a-]+'), '-a-', [[0, 3]]],
    [
      regexPattern('\\d{2,3}'),
      '1 12 1234',
      [
        [2, 4],
        [5, 8],
      ],
    ],
    [regexPattern('\\x41\\.\\w*'), 'A.b_9!', [[0, 5]]],
    [regexPattern('a.b'), 'a\nb axb', [[4, 7]]],
    [regexPattern('a[\\s\\S]b'), 'a\nb', [[0, 3]]],
    [regexPattern('a*'), 'baab', [[1, 3]]],
    [regexPattern('(?:ab)+c?'), 'ababc', [[0, 5]]],
    [regexPattern('a{0}b'), 'ab', [[1, 2]]],
    [regexPattern('a{b'), 'a{b', [[0, 3]]],
    [regexPattern('(?:a*)*b'), 'aab', [[0, 3]]],
    [
      regexPattern('[\\x00\\n]'),
      '\0\n',
      [
        [0, 1],
        [1, 2],
      ],
    ],
    [regexPattern('é+'), 'éé', [[0, 4]]],
  ] as const) {
    const bytes = ascii(text)
    t.same(quickly(pattern, cut(bytes, new Random(1), 4)), places, pattern.source)
    t.same(slowly(pattern, bytes), places, `${pattern.source}, by the oracle`)
  }
})

t.test('refused', async (t) => {
  for (const [make, message] of [
    [() => textPattern(''), /the pattern is empty/],
    [() => textPattern('x'.repeat(5000)), /the pattern is too long/],
    [() => hexPattern('4'), /the hex pattern is invalid/],
    [() => hexPattern('48 8g'), /found '8g'/],
    [() => hexPattern('   '), /the hex pattern is invalid/],
    [() => regexPattern('a('), /\( without a \)/],
    [() => regexPattern('a)'), /\) without a \(/],
    [() => regexPattern('[a'), /\[ without a \]/],
    [() => regexPattern('[z-a]'), /invalid range/],
    [() => regexPattern('[[:digit:]]'), /POSIX/],
    [() => regexPattern('[é]'), /several bytes/],
    [() => regexPattern('*a'), /repeats nothing/],
    [() => regexPattern('a*?'), /lazy/],
    [() => regexPattern('a**'), /two repeats/],
    [() => regexPattern('a{3,2}'), /invalid repeat/],
    [() => regexPattern('a{9999}'), /repeat that is too large/],
    [() => regexPattern('^a'), /assertion \^/],
    [() => regexPattern('a$'), /assertion \$/],
    [() => regexPattern('(?=a)'), /an assertion, a flag or a named group/],
    [() => regexPattern('(a)\\1'), /escape \\1/],
    [() => regexPattern('\\b'), /escape \\b/],
    [() => regexPattern('\\xg0'), /invalid \\x/],
    [() => regexPattern('a\\'), /ends with a backslash/],
    [() => regexPattern('(?:)'), /the pattern is empty/],
    [() => regexPattern('((a{4000}){4000}){4000}'), /the pattern is too large/],
    [() => regexPattern('('.repeat(200) + ')'.repeat(200)), /nested too deeply/],
  ] as const) {
    t.throws(make, { code: 'bad-config', message })
  }
})

/** Returns a random expression over a few letters. */
function expression(random: Random, depth = 3): string {
  const atom = (): string => random.pick(['a', 'b', 'c', '.', '[ab]', '[^a]', '\\x00', '\\w', 'ab', 'abc', '\\n'])
  if (depth === 0) return atom()
  const inner = (): string => expression(random, depth - 1)
  switch (random.below(6)) {
    case 0:
      return `(?:${inner()}|${inner()})`
    case 1:
      return `(${inner()})${random.pick(['*', '+', '?', '{2}', '{1,3}', '{2,}'])}`
    case 2:
      return atom()
    default:
      return inner() + inner()
  }
}

t.test('random expressions find what a search of every place finds', async (t) => {
  const random = new Random(11)
  const letters = ascii('aaabbc\0\n')
  let matches = 0
  for (let round = 0; round < 1500; round++) {
    const source = expression(random)
    let pattern: BytePattern
    try {
      pattern = regexPattern(source)
    } catch {
      continue
    }
    const bytes = Uint8Array.from({ length: random.integer(1, 120) }, () => random.pick([...letters]))
    const wanted = slowly(pattern, bytes)
    matches += wanted.length
    const found = quickly(pattern, cut(bytes, random, 50))
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      t.same(found, wanted, `${source} in ${JSON.stringify([...bytes])}`)
  }
  t.ok(matches > 10_000, `${matches} matches`)
})

t.test('matches at every place of the windows', async (t) => {
  const random = new Random(3)
  for (const pattern of [
    textPattern('needle'),
    hexPattern('6e ?? 65 64 6c 65'),
    regexPattern('ne+dle'),
    regexPattern('[m-o][e]{2}d[k-m]e'),
  ]) {
    for (let shift = 0; shift < 7; shift++) {
      const bytes = new Uint8Array(3 * SEARCHED_BYTES).fill(0x2e)
      const wanted: Place[] = []
      for (let at = shift; at + 6 <= bytes.length; at += 7) {
        bytes.set(ascii('needle'), at)
        wanted.push([at, at + 6])
      }
      const found = quickly(pattern, cut(bytes, random, SEARCHED_BYTES))
      t.equal(found.length, wanted.length, `${pattern.source} at ${shift}`)
      t.ok(found.every(([start, end], i) => start === wanted[i]?.[0] && end === wanted[i]?.[1]))
    }
  }
})

t.test('a long run is cut at the longest match, at any end of a window', async (t) => {
  const pattern = regexPattern('[a-z]+')
  for (const before of [0, 1, SEARCHED_BYTES - 4096, SEARCHED_BYTES - 1, SEARCHED_BYTES + 77]) {
    const bytes = new Uint8Array(before + 10_000 + 5).fill(0x61, before, before + 10_000)
    const found = quickly(pattern, cut(bytes, new Random(before), 70_000))
    t.same(found, [
      [before, before + 4096],
      [before + 4096, before + 8192],
      [before + 8192, before + 10_000],
    ])
  }
})

t.test('holes', async (t) => {
  const random = new Random(5)
  for (const [source, hole] of [
    ['a\\x00{3}b?', 3],
    ['a\\x00+b', 6],
    ['\\x00\\x00a', 500],
    ['b\\x00\\x00', 100_000],
    ['\\x00{2}[ab]\\x00{2}', 9000],
    ['ab', 4096],
  ] as const) {
    const pattern = regexPattern(source)
    const data = Uint8Array.from({ length: 4000 }, () => random.pick([0x61, 0x62, 0, 0]))
    const pieces: Piece[] = []
    const parts: Uint8Array[] = []
    let address = 0n
    for (let at = 0; at < data.length; at += 100) {
      const part = data.slice(at, at + 100)
      pieces.push({
        address,
        length: 100,
        readInto: (offset, out) => out.set(part.subarray(offset, offset + out.length)),
      })
      pieces.push({ address: address + 100n, length: hole })
      parts.push(part, new Uint8Array(hole))
      address += BigInt(100 + hole)
    }
    const flat = new Uint8Array(Buffer.concat(parts))
    const wanted = slowly(regexPattern(source), flat)
    t.same(quickly(pattern, pieces), wanted, `${source} with holes of ${hole}`)
    t.ok(wanted.length > 10)
  }
})

t.test('zeros in holes are omitted, and those that reach out of one are not', async (t) => {
  const one = Uint8Array.of(0, 0, 1, 0)
  const readInto = (offset: number, out: Uint8Array) => out.set(one.subarray(offset, offset + out.length))
  for (const hole of [8, 1 << 20]) {
    const pieces: Piece[] = [
      { address: 0n, length: hole },
      { address: BigInt(hole), length: 4, readInto },
      { address: BigInt(hole) + 4n, length: hole },
    ]
    const places = quickly(hexPattern('00 00 00'), pieces)
    t.ok(places.length <= 2 && places.length > 0, JSON.stringify(places))
    t.ok(places.every(([start, end]) => end > hole && start < hole + 4))
  }
})

t.test('missing memory is part of no match', async (t) => {
  const at = (address: number, text: string): Piece => ({
    address: BigInt(address),
    length: text.length,
    readInto: (offset, out) => out.set(ascii(text).subarray(offset, offset + out.length)),
  })
  t.same(quickly(textPattern('abcd'), [at(0, 'ab'), at(3, 'cd'), at(5, 'ab'), at(7, 'cd')]), [[5, 9]])
})

t.test('expressions that take a backtracking search forever', async (t) => {
  const bytes = new Uint8Array(400_000).fill(0x61)
  for (const source of ['(a+)+b', '(a|aa)+c', '(?:a*)*b', '(a?){50}a{50}b', '([a-z]+)*[0-9]', 'a[^b]*b']) {
    t.same(quickly(regexPattern(source), cut(bytes, new Random(1), 65536)), [], source)
  }
  // More sets of states than are kept.
  const random = new Random(2)
  const mixed = Uint8Array.from({ length: 200_000 }, () => random.pick([0x61, 0x62]))
  t.same(quickly(regexPattern('[ab]*a[ab]{14}c'), cut(mixed, random, 65536)), [])
})
