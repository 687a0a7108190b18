/**
 * Verdicts for people and for programs: how a kernel boots, or the one cause why it does not.
 *
 * Source: ../kernel/verdict.ts.
 * Gotcha: the text of a refusal must stay the line that `build --type` would print.
 */
import { defined } from '../defined.js'
import type { Verdict } from '../kernel/verdict.js'
import { hex } from '../units.js'
import type { Json } from './json.js'

/** Returns one verdict as JSON; addresses are hex strings. */
export function describeVerdict(verdict: Verdict): { readonly [key: string]: Json } {
  const { type, ok } = verdict
  if (!verdict.ok) return { type, ok, code: verdict.code, reason: verdict.reason }
  const entry = verdict.entry === undefined ? undefined : hex(verdict.entry)
  return defined({ type, ok, entry, needs: verdict.needs })
}

/** Returns verdicts as text for people, with the needs of each type that boots. */
export function verdictText(verdicts: readonly Verdict[]): string[] {
  return verdicts.flatMap((verdict) => {
    const type = verdict.type.padEnd(6)
    if (!verdict.ok) return [`${type} no: ${verdict.code}: ${verdict.reason}`]
    const entry = verdict.entry === undefined ? ', entered through its setup code' : `, entry ${hex(verdict.entry)}`
    return [`${type} ok${entry}`, ...verdict.needs.map((need) => `         ${need}`)]
  })
}
