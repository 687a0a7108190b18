/**
 * validate SNAPSHOT: would Xen's PV MMU accept these tables?
 *
 * Source: ../inspect/validate.ts.
 * Gotcha: exit 1 when it would not; the violations are the answer and go to standard output.
 */
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { findHypercallPage, hypercallText } from '../inspect/hypercalls.js'
import { describeViolation, showPath, validate } from '../inspect/validate.js'
import { type Command, type Invocation, Refused } from './command.js'
import { openDomain } from './input.js'

export const command: Command = {
  usage: 'validate SNAPSHOT',
  help: "Says whether Xen's PV MMU would accept a guest's page tables: each violation with its path from cr3.",
  options: {},
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: ['validate guest.img', 'validate guest.img --json'],
  async run(invocation) {
    reportViolations(await openDomain(invocation.positionals[0] as string, invocation.progress), invocation)
  },
}

/**
 * Prints every violation of a PV guest, or that it has none, and any warning.
 * @throws Refused if there are violations.
 */
export function reportViolations(domain: Domain, { progress, answer }: Invocation): void {
  const violations = validate(domain)
  const hypercallPage = findHypercallPage(domain)
  progress.end()
  answer('violations', {
    json: () => defined({ violations: violations.map(describeViolation), hypercallPage }),
    text: () => [
      ...(violations.length === 0
        ? ['Xen would accept these page tables']
        : violations.map(({ rule, message, path }) => `${rule}: ${message} (${showPath(path)})`)),
      ...hypercallText(hypercallPage),
    ],
  })
  if (violations.length > 0) throw new Refused()
}
