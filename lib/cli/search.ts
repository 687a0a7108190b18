/**
 * search SNAPSHOT PATTERN: the places of a text, of bytes or of a regular expression in a guest's memory.
 *
 * Source: ../inspect/search.ts, ../inspect/location.ts; the exit status is that of grep(1).
 * Gotcha: exit 1 means only that nothing was found, so every error must be 2 here.
 */
import { decodeLatin1, toHex } from '../bytes.js'
import { type Location, locator } from '../inspect/location.js'
import { type MemoryMatch, searchMemory } from '../inspect/search.js'
import { printable } from '../printable.js'
import { type BytePattern, hexPattern, regexPattern, textPattern } from '../search/pattern.js'
import { matchesZeros } from '../search/scan.js'
import { showSymbol } from '../symbols/symbol-table.js'
import { hex, PAGE_SIZE } from '../units.js'
import { ADDRESS_HELP, extentOf, extentOptions, resolver } from './addresses.js'
import { type Command, Refused, UsageError, type Values } from './command.js'
import { TROUBLE } from './exit-status.js'
import { openDomain } from './input.js'
import { first, limitOf, limitOption } from './limit.js'
import { say } from './printer.js'

function patternOf(values: Values, given: string): BytePattern {
  if (values.hex === true && values.regex === true) throw new UsageError('--hex and --regex are two kinds of PATTERN')
  if (values.hex === true) return hexPattern(given)
  return values.regex === true ? regexPattern(given) : textPattern(given)
}

/** A match with the place that it lies in. */
interface Placed extends MemoryMatch {
  readonly where: Location
}

export const command: Command = {
  usage: 'search SNAPSHOT PATTERN [--hex|--regex] [options]',
  help: `Finds a text in a guest's memory, or bytes, or a regular expression. Each line has the address of a match, its region, its other addresses with the symbol there, and its bytes. Holes, which are zeros, cost nothing: a match that lies in a hole from end to end is omitted.
${ADDRESS_HELP}
Exit status 0: found; 1: not found; 2: an error.`,
  options: {
    hex: { type: 'boolean', short: 'x', help: 'PATTERN is bytes, such as "48 8b ?? 05"; ?? is any byte, ? any digit' },
    regex: {
      type: 'boolean',
      short: 'E',
      elsewhere: ['e', 'P', 'regexp', 'perl-regexp', 'extended-regexp'],
      help: 'PATTERN is a regular expression over bytes, such as "Linux version [0-9.]+\\x20"; a match is the longest one',
    },
    count: { type: 'boolean', short: 'c', help: 'only the number of matches' },
    limit: limitOption,
    ...extentOptions,
  },
  operands: [{ name: 'SNAPSHOT', file: true }, { name: 'PATTERN' }],
  examples: [
    "search guest.img 'Linux version'",
    "search guest.img --hex '0f 05 ?? 8b'",
    "search guest.img --regex 'root=[!-~]+' --limit 5",
    'search guest.img --from rip --to rip+64K --hex e8',
  ],
  errorStatus: TROUBLE,
  async run({ values, positionals, progress, answer, answerList }) {
    const [file = '', given = ''] = positionals
    const pattern = patternOf(values, given)
    const most = limitOf(values)
    const opened = await openDomain(file, progress)
    const addresses = resolver(values, opened, progress)
    const { domain, virtual, range } = await extentOf(values, opened, addresses)
    const onProgress = (part: { done: number; total: number }) => progress.say('searching', part)
    const matches = first(searchMemory(domain, pattern, { virtual, range, onProgress }), most)
    let count = 0
    if (values.count === true) {
      for await (const _ of matches) count++
      progress.end()
      answer('search', { json: () => ({ count }), text: () => [`${count}`] })
    } else {
      await answerList('search', {
        list: 'matches',
        items: (async function* (): AsyncGenerator<Placed> {
          let where: ReturnType<typeof locator> | undefined
          for await (const match of matches) {
            where ??= locator(domain, await addresses.symbols())
            progress.end()
            count++
            yield { ...match, where: where(match.paddr) }
          }
        })(),
        json: describe,
        rest: () => ({ count }),
        text: (match) => [line(match, values.hex === true)],
      })
      progress.end()
    }
    const { pageCount, placedBytes } = domain.memory
    if (matchesZeros(pattern) && pageCount * PAGE_SIZE > placedBytes) {
      say('matches of zeros that lie in a hole from end to end are omitted')
    }
    if (count === 0) throw new Refused()
  },
}

const inRegion = ({ region }: Location): string | undefined =>
  region && (region.offset === 0 ? region.name : `${region.name}+${hex(region.offset)}`)

const describe = ({ paddr, vaddr, bytes, where }: Placed): object => ({
  paddr: hex(paddr),
  vaddr: vaddr === undefined ? null : hex(vaddr),
  bytes: toHex(bytes),
  region: where.region?.name ?? null,
  vaddrs: where.vaddrs.map((address) => hex(address)),
  symbol: where.symbol ? showSymbol(where.symbol) : null,
})

/** The most characters of a match, and the most other addresses, that a line shows. */
const SHOWN_MAX = 64
const ADDRESSES_MAX = 3

function line({ paddr, vaddr, bytes, where }: Placed, asHex: boolean): string {
  const others = where.vaddrs.filter((address) => address !== vaddr)
  const { symbol } = where
  const columns = [
    ...(vaddr === undefined ? [] : [hex(vaddr, 16)]),
    hex(paddr, 9),
    (inRegion(where) ?? '-').padEnd(20),
    ...others.slice(0, ADDRESSES_MAX).map((address) => hex(address, 16)),
    ...(others.length > ADDRESSES_MAX ? ['...'] : []),
    ...(symbol ? [`(${showSymbol(symbol)})`] : []),
    contentOf(bytes, asHex),
  ]
  return columns.join('  ')
}

function contentOf(bytes: Uint8Array, asHex: boolean): string {
  const most = asHex ? SHOWN_MAX / 2 : SHOWN_MAX
  const rest = bytes.length > most ? '...' : ''
  const shown = bytes.subarray(0, most)
  return asHex ? toHex(shown) + rest : `"${printable(decodeLatin1(shown))}"${rest}`
}
