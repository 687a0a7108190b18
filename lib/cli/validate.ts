/**
 * validate SNAPSHOT: would Xen's PV MMU accept these tables?
 *
 * Source: ../inspect/validate.ts.
 * Gotcha: exit 1 when it would not; the violations are the answer and go to standard output.
 */
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { findHypercallPage } from '../inspect/hypercalls.js'
import { violationsText } from '../inspect/soundness.js'
import { describeViolation, validate, violationSymbol } from '../inspect/validate.js'
import { type Command, type Invocation, Refused } from './command.js'
import { openDomain } from './input.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

export const command: Command = {
  usage: 'validate SNAPSHOT [--symbols FILE]',
  help: "Says whether Xen's PV MMU would accept a guest's page tables: each violation with its path from cr3.",
  options: symbolsOption,
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: ['validate guest.img', 'validate guest.img --json'],
  async run(invocation) {
    await reportViolations(await openDomain(invocation.positionals[0] as string, invocation.progress), invocation)
  },
}

/**
 * Prints every violation of a PV guest, or that it has none, and any warning.
 * @throws Refused if there are violations.
 */
export async function reportViolations(domain: Domain, { values, progress, answer }: Invocation): Promise<void> {
  const violations = validate(domain)
  const symbols = violations.length === 0 ? undefined : await symbolsOf(values, domain, progress)
  const hypercallPage = findHypercallPage(domain)
  progress.end()
  answer('violations', {
    json: () =>
      defined({
        violations: violations.map((one) => describeViolation(one, violationSymbol(domain, one, symbols))),
        hypercallPage,
      }),
    text: () => violationsText(domain, violations, symbols),
  })
  if (violations.length > 0) throw new Refused()
}
