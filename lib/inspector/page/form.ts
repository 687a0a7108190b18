/**
 * The form of the guest, and the link that carries its values.
 *
 * Source: https://url.spec.whatwg.org/#interface-urlsearchparams
 * Gotcha: the link carries values only. The file stays on the reader's machine.
 */
/// <reference lib="dom" />

import { find } from '../../inspect/map-client/dom.js'
import type { GuestWords, ShownVerdict } from '../messages.js'

const FIELDS = ['type', 'memory', 'vcpus', 'cmdline'] as const
type Field = (typeof FIELDS)[number]

const field = (name: Field): HTMLInputElement | HTMLSelectElement => find(name) as HTMLInputElement

/** Returns the values of the form. */
export function readForm(): GuestWords {
  return {
    type: (field('type').value || 'auto') as GuestWords['type'],
    memory: field('memory').value,
    vcpus: field('vcpus').value,
    cmdline: field('cmdline').value,
  }
}

/** Takes the values of the page's link into the form. */
export function writeForm(): void {
  const given = new URLSearchParams(location.hash.slice(1))
  for (const name of FIELDS) {
    const value = given.get(name)
    if (value !== null) field(name).value = value
  }
  if (field('type').value === '') field('type').value = 'auto'
}

/** Makes the page's link carry these values; defaults are left out. */
export function linkWords(words: GuestWords): void {
  const given = FIELDS.filter((name) => words[name] !== '' && words[name] !== 'auto')
  const text = new URLSearchParams(given.map((name) => [name, words[name]])).toString()
  history.replaceState(null, '', `#${text}`)
}

/** Marks the types that the kernel cannot boot as; each can still be chosen, for its reason. */
export function typesOf(verdicts: readonly ShownVerdict[]): void {
  for (const option of field('type').querySelectorAll('option')) {
    const verdict = verdicts.find(({ type }) => type === option.value)
    option.textContent = verdict === undefined || verdict.ok ? option.value : `${option.value} (no)`
  }
}
