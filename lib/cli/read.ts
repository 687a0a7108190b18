/**
 * read SNAPSHOT ADDRESS LENGTH: bytes of a guest on standard output.
 *
 * Source: ../guest/memory.ts, ../guest/translate.ts.
 * Gotcha: the bytes are raw, for a pipe into od or strings; --json gives them as hex text.
 */
import { readVirtual } from '../guest/translate.js'
import { hex, narrow, showSize } from '../units.js'
import { type Command, invalidValue, UsageError } from './command.js'
import { takeStandardOutput, writeStandardOutput } from './files.js'
import { openDomain } from './input.js'

/** The most bytes: a larger read is a conversion. */
const MAX_LENGTH = 1 << 30

function integer(given: string, what: string): bigint {
  if (!/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(given)) throw invalidValue(what, given, 'a number, decimal or 0x...')
  return BigInt(given)
}

export const command: Command = {
  usage: 'read SNAPSHOT ADDRESS LENGTH [--virtual]',
  help: `Writes bytes of a guest's memory to standard output, at most ${showSize(MAX_LENGTH)} of them.`,
  options: {
    virtual: { type: 'boolean', help: "ADDRESS is virtual: it is translated by the guest's page tables" },
  },
  operands: [{ name: 'SNAPSHOT', file: true }, { name: 'ADDRESS' }, { name: 'LENGTH' }],
  examples: ['read guest.img 0x1000000 64 | od -A x -t x1z', 'read guest.img 0x1000000 64 --json'],
  async run({ values, positionals, json, progress, answer }) {
    const [file = '', at = '', count = ''] = positionals
    const address = integer(at, 'ADDRESS')
    const length = integer(count, 'LENGTH')
    if (length > BigInt(MAX_LENGTH)) throw new UsageError(`LENGTH is too large: expected at most ${MAX_LENGTH}`)
    if (!json) takeStandardOutput('-', "a guest's bytes (--json shows them as hex)", json)
    const domain = await openDomain(file, progress)
    progress.end()
    const bytes =
      values.virtual === true
        ? readVirtual(domain, address, Number(length))
        : domain.memory.read(narrow(address, 'ADDRESS'), Number(length))
    if (!json) return writeStandardOutput([bytes])
    answer('read', { json: () => ({ address: hex(address), bytes: Buffer.from(bytes).toString('hex') }) })
  },
}
