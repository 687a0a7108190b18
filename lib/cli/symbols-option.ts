/**
 * The option --symbols of every command that shows or takes addresses of a guest.
 *
 * Source: ../symbols/read-symbols.ts, find-symbols.ts, move-symbols.ts.
 * Gotcha: the search of a guest's memory takes a moment, so a command asks for symbols only when it needs a name.
 */
import type { Domain } from '../guest/domain.js'
import { findSymbols } from '../symbols/find-symbols.js'
import { moveSymbols } from '../symbols/move-symbols.js'
import { readSymbols } from '../symbols/read-symbols.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { type Options, text, type Values } from './command.js'
import { readInput } from './files.js'
import type { Progress } from './progress.js'

/** The option; spread it into a command's options. */
export const symbolsOption = {
  symbols: {
    type: 'string',
    value: 'FILE',
    elsewhere: ['system-map', 'map', 'kallsyms', 'vmlinux', 'namelist', 'S'],
    help: "names of addresses: a System.map, a kernel file or another ELF (default: those in the guest's memory)",
  },
} as const satisfies Options

/**
 * Returns the symbols of a guest: those of the file that --symbols names, at the addresses of the guest, or else those
 * that its Linux has in its memory. Undefined without either.
 * @throws DomainBuilderError `cannot-read`, `no-symbols`, and the errors of a damaged kernel file.
 */
export async function symbolsOf(values: Values, domain: Domain, progress: Progress): Promise<SymbolTable | undefined> {
  const name = text(values, 'symbols')
  if (name === undefined) return findSymbols(domain)
  const symbols = await readSymbols(readInput(name), {
    onProgress: ({ step, ...part }) => {
      if (step === 'decompress') progress.say(`decompressing ${name}`, part)
    },
  })
  return moveSymbols(symbols, domain)
}
