/**
 * strings SNAPSHOT: the readable text in a guest's memory, each string with its address.
 *
 * Source: ../inspect/strings.ts; strings(1) of GNU binutils, whose -n and -e these are.
 * Gotcha: the text is untrusted, and the printer escapes its tabs.
 */
import { findStrings, type MemoryString, STRING_ENCODINGS, type StringEncoding } from '../inspect/strings.js'
import { hex } from '../units.js'
import { ADDRESS_HELP, extentOf, extentOptions, resolver } from './addresses.js'
import { type Command, invalidValue, oneOf, text } from './command.js'
import { openDomain } from './input.js'
import { first, limitOf, limitOption } from './limit.js'

const ENCODINGS = Object.keys(STRING_ENCODINGS) as StringEncoding[]

export const command: Command = {
  usage: 'strings SNAPSHOT [-n N] [-e ENCODING] [options]',
  help: `Prints the readable text in a guest's memory, each string after its address in hex, as strings -t x does.
${ADDRESS_HELP}`,
  options: {
    bytes: {
      type: 'string',
      short: 'n',
      value: 'N',
      elsewhere: ['min-len', 'length'],
      help: 'the fewest characters of a string (default 4)',
    },
    encoding: {
      type: 'string',
      short: 'e',
      value: 'ENCODING',
      choices: ENCODINGS,
      help: 'ASCII, the default, or UTF-16 with the low byte first',
    },
    limit: limitOption,
    ...extentOptions,
  },
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: [
    'strings guest.img -n 8',
    'strings guest.img -e l',
    'strings guest.img --from start_info --to start_info+4K',
  ],
  async run({ values, positionals, progress, answerList }) {
    const [file = ''] = positionals
    const given = text(values, 'bytes') ?? '4'
    if (!/^\d{1,4}$/.test(given)) throw invalidValue('-n', given, 'a number of characters')
    const most = limitOf(values)
    const opened = await openDomain(file, progress)
    const { domain, virtual, range } = await extentOf(values, opened, resolver(values, opened, progress))
    const onProgress = (part: { done: number; total: number }) => progress.say('searching', part)
    const encoding = oneOf(values, 'encoding', ENCODINGS) ?? 's'
    const strings = findStrings(domain, { least: Number(given), encoding, virtual, range, onProgress })
    await answerList('strings', {
      list: 'strings',
      items: (async function* (): AsyncGenerator<MemoryString> {
        for await (const string of first(strings, most)) {
          progress.end()
          yield string
        }
      })(),
      json: ({ paddr, vaddr, text }) => ({ paddr: hex(paddr), vaddr: vaddr === undefined ? null : hex(vaddr), text }),
      text: ({ paddr, vaddr, text }) => [`${(vaddr ?? paddr).toString(16).padStart(virtual ? 16 : 7)} ${text}`],
    })
    progress.end()
  },
}
