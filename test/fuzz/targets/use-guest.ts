/**
 * All that a guest can be asked, whoever built it.
 *
 * Source: lib/index.ts.
 * Gotcha: memory is read as far as it holds anything; what a file claims besides is a hole.
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

/** Runs what may refuse. */
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

/** One input in so many has its guest described, which takes longer than all the rest. */
const DESCRIBED = 8

/** @param input says whether the guest is described too. */
export function useGuest(guest: Domain, input: Uint8Array): void {
  for (const _ of guest.memory.chunks()) {
    // Its bytes are made by that.
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
