/**
 * Verdicts for people and for programs: how a kernel boots, or the one cause why it does not.
 *
 * Source: ../kernel/verdict.ts.
 * Gotcha: a refusal's text is the line that `build --type` would print.
 */
import type { Verdict } from '../kernel/verdict.js'
import { hex } from '../units.js'
import type { Json } from './json.js'

/** One verdict as JSON; addresses are hex strings. */
export function describeVerdict(verdict: Verdict): { readonly [key: string]: Json } {
  const { type, ok } = verdict
  if (!verdict.ok) return { type, ok, code: verdict.code, reason: verdict.reason }
  const entry = verdict.entry === undefined ? {} : { entry: hex(verdict.entry) }
  return { type, ok, ...entry, needs: verdict.needs }
}

/** The same for people: what it needs below each type that boots. */
export function verdictText(verdicts: readonly Verdict[]): string[] {
  return verdicts.flatMap((verdict) => {
    const type = verdict.type.padEnd(6)
    if (!verdict.ok) return [`${type} no: ${verdict.code}: ${verdict.reason}`]
    const entry = verdict.entry === undefined ? ', entered through its setup code' : `, entry ${hex(verdict.entry)}`
    return [`${type} ok${entry}`, ...verdict.needs.map((need) => `         ${need}`)]
  })
}
