/**
 * The parts of the page that change: verdicts, progress, refusals and the text of commands.
 *
 * Source: https://www.w3.org/WAI/ARIA/apg/ for roles and names.
 * Gotcha: every word may be untrusted: text becomes part of the document only as text.
 */
/// <reference lib="dom" />

import { element, find } from '../../inspect/map-client/dom.js'
import type { Lines, Refusal, ShownVerdict } from '../messages.js'

/** Shows how a kernel can boot. */
export function showVerdicts(verdicts: readonly ShownVerdict[]): void {
  const rows = verdicts.map(({ type, ok, said, needs }) =>
    element(
      'li',
      { class: ok ? 'ok' : 'no' },
      element('b', {}, type),
      element('span', { class: 'mark' }, ok ? 'boots' : 'cannot boot'),
      element('span', { class: 'mono' }, said),
      ...needs.map((need) => element('span', { class: 'soft need' }, need)),
    ),
  )
  find('verdicts').replaceChildren(...rows)
  find('verdicts').hidden = rows.length === 0
}

/** Shows the progress of long work; nothing removes it. */
export function showProgress(
  part: { readonly doing: string; readonly done: number; readonly total: number } | undefined,
): void {
  const bar = find('bar') as HTMLProgressElement
  find('progress').hidden = part === undefined
  find('doing').textContent = part?.doing ?? ''
  if (part === undefined || part.total === 0) bar.removeAttribute('value')
  else {
    bar.max = part.total
    bar.value = part.done
  }
}

/** Shows a refusal as the command prints it; nothing removes it. */
export function showRefusal(id: string, refusal: Refusal | undefined): void {
  const at = find(id)
  at.hidden = refusal === undefined
  at.replaceChildren(...(refusal === undefined ? [] : [element('b', {}, `${refusal.code}:`), ` ${refusal.message}`]))
}

/** Shows the text of a command. */
export function showLines({ command, lines }: Lines, isOpen: boolean): void {
  const text = lines.length === 0 ? 'no difference' : lines.join('\n')
  find('said-list').append(
    element(
      'details',
      isOpen ? { open: '' } : {},
      element('summary', {}, `xdb ${command}`),
      element('pre', { tabindex: '0', role: 'region', 'aria-label': `xdb ${command}` }, text),
    ),
  )
}
