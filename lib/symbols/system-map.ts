/**
 * The symbols of a text: a System.map, /proc/kallsyms, or the output of nm.
 *
 * Source: nm(1), the BSD format, with or without --print-size; proc(5) for /proc/kallsyms.
 * Gotcha: /proc/kallsyms shows zero for each address to a user without the right to see them.
 */
import { decodeLatin1 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Slices } from '../work.js'
import type { KernelSymbol } from './symbol-table.js'

/** A line: address, size if there is one, type, name, and in /proc/kallsyms the module after a tab. */
const LINE = /^([0-9a-f]{8}|[0-9a-f]{16})(?: ([0-9a-f]{8}|[0-9a-f]{16}))? ([A-Za-z?-]) ([^\t]+)/
/** A line of nm for a symbol of another file. */
const UNDEFINED = /^ {8,16} [Uvw] /
/** The most characters of a line: a longer name is cut. */
const MAX_LINE = 1024
const NEWLINE = 10
const IN_SLICE = 1 << 12

/** Whether the bytes begin like a text of symbols. */
export function isSymbolText(bytes: Uint8Array): boolean {
  const start = decodeLatin1(bytes.subarray(0, MAX_LINE))
  return LINE.test(start) || UNDEFINED.test(start)
}

/** Returns the symbols of a text. @throws DomainBuilderError `no-symbols` for a line of another kind. */
export function* readSymbolText(bytes: Uint8Array): Slices<KernelSymbol[]> {
  const symbols: KernelSymbol[] = []
  let isHidden = true
  for (let at = 0, line = 1; at < bytes.length; line++) {
    if (line % IN_SLICE === 0) yield
    const newline = bytes.indexOf(NEWLINE, at)
    const end = newline < 0 ? bytes.length : newline
    const text = decodeLatin1(bytes.subarray(at, Math.min(end, at + MAX_LINE))).trimEnd()
    const found = LINE.exec(text)
    if (found) {
      const [, address = '', bytesText, type = '', name = ''] = found
      isHidden &&= /^0+$/.test(address)
      const size = bytesText === undefined ? {} : { bytes: Number(`0x${bytesText}`) }
      symbols.push({ name, address: BigInt(`0x${address}`), type, ...size })
    } else if (text !== '' && !UNDEFINED.test(text)) {
      throw new DomainBuilderError('no-symbols', `line ${line} is not one of a symbol table`, {
        expected: 'an address, a type and a name',
        found: `'${text.slice(0, 80)}'`,
        offset: at,
      })
    }
    at = end + 1
  }
  if (isHidden) {
    throw new DomainBuilderError('no-symbols', 'every address of the symbols is zero', {
      expected: 'a /proc/kallsyms that root has read',
      found: `${symbols.length} symbols`,
    })
  }
  return symbols
}
