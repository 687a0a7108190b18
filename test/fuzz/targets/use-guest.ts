/**
 * Every operation on a guest, from any builder or file.
 *
 * Source: lib/index.ts.
 * Gotcha: a small file may claim much memory, so only memory with content is read; the rest is a hole.
 */
import { crc32 } from '../../../lib/codec/crc.js'
import {
  type Domain,
  DomainBuilderError,
  describeDomain,
  domainText,
  mapText,
  showPath,
  validate,
  walkPageTables,
} from '../../../lib/index.js'

/** Runs an act that may refuse. */
export function orRefuse(act: () => void): void {
  try {
    act()
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
  }
}

/** @throws Error for a line that is not printable. */
export function requirePrintable(lines: Iterable<string>): void {
  for (const line of lines) if (/\p{Cc}/u.test(line)) throw new Error(`not printable: ${JSON.stringify(line)}`)
}

/** For one input in this many, the guest is described, which takes longer than all the rest. */
const DESCRIBED = 8

/** @param input decides whether the guest is described too. */
export function useGuest(guest: Domain, input: Uint8Array): void {
  for (const _ of guest.memory.chunks()) {
    // This produces its bytes.
  }
  orRefuse(() => {
    for (const { entries } of walkPageTables(guest)) entries.at(-1)
  })
  if (guest.type === 'pv') orRefuse(() => requirePrintable(violations(guest)))
  if (crc32(input) % DESCRIBED !== 0) return
  orRefuse(() => JSON.stringify(describeDomain(guest)))
  orRefuse(() => requirePrintable(domainText(guest)))
  orRefuse(() => requirePrintable(mapText(guest)))
}

const violations = (guest: Domain): string[] =>
  [...validate(guest)].flatMap(({ message, path }) => [message, showPath(path)])
