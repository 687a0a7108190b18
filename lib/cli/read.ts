/**
 * read SNAPSHOT ADDRESS LENGTH: bytes of a guest on standard output.
 *
 * Source: ../inspect/place.ts, ../inspect/hexdump.ts.
 * Gotcha: a terminal gets a hexdump and a pipe the bytes themselves. Only a hexdump can show that a part is missing.
 */
import { DomainBuilderError } from '../errors.js'
import { readVirtual } from '../guest/translate.js'
import { hexdump } from '../inspect/hexdump.js'
import { seenBy } from '../inspect/place.js'
import { hex, parseBytes, showSize } from '../units.js'
import { ADDRESS_HELP, resolver, virtualOption } from './addresses.js'
import { type Command, invalidValue, UsageError } from './command.js'
import { writeStandardOutput } from './files.js'
import { openDomain } from './input.js'
import { isTerminal, printItems } from './printer.js'
import { symbolsOption } from './symbols-option.js'

/** The most bytes: a larger read is a conversion. */
const MAX_LENGTH = 1 << 30

function lengthOf(given: string): number {
  try {
    const length = parseBytes(given)
    if (length <= MAX_LENGTH) return length
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    throw invalidValue('LENGTH', given, 'a number of bytes, such as 64, 0x40 or 4K')
  }
  throw new UsageError(`LENGTH is too large: expected at most ${MAX_LENGTH}`)
}

export const command: Command = {
  usage: 'read SNAPSHOT ADDRESS LENGTH [options]',
  help: `Shows bytes of a guest's memory as a hexdump on a terminal; writes the bytes themselves to a pipe or a file. At most ${showSize(MAX_LENGTH)}.
${ADDRESS_HELP}`,
  options: {
    virtual: virtualOption,
    hexdump: { type: 'boolean', short: 'C', help: 'a hexdump in a pipe as well' },
    ...symbolsOption,
  },
  operands: [{ name: 'SNAPSHOT', file: true }, { name: 'ADDRESS' }, { name: 'LENGTH' }],
  examples: ['read guest.img start_info 1K', 'read guest.img rip 64 -C', 'read guest.img 16M 4K > page'],
  async run({ values, positionals, json, progress, answer }) {
    const [file = '', at = '', count = ''] = positionals
    const length = lengthOf(count)
    const domain = await openDomain(file, progress)
    const place = await resolver(values, domain, progress).resolve(at, values.virtual === true ? 'virtual' : 'physical')
    progress.end()
    const view = place.space === 'virtual' ? seenBy(domain, place.vcpu) : domain
    const whole = (): Uint8Array =>
      place.space === 'virtual' ? readVirtual(view, place.vaddr, length) : view.memory.read(place.paddr, length)
    if (json) {
      const address = hex(place.space === 'virtual' ? place.vaddr : place.paddr)
      const bytes = Buffer.from(whole()).toString('hex')
      return answer('read', { json: () => ({ address, space: place.space, bytes }) })
    }
    if (values.hexdump !== true && !isTerminal()) return writeStandardOutput([whole()])
    let found = 0
    const items = (async function* () {
      for (const part of hexdump(view, place, length)) {
        found += part.bytes
        yield part
      }
    })()
    await printItems({ items, text: ({ lines }) => lines })
    // Nothing but missing memory has the error that tells why.
    if (found === 0 && length > 0) whole()
  },
}
