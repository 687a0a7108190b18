/**
 * The document as the page's script uses it: finding, making and focusing elements.
 *
 * Source: https://dom.spec.whatwg.org/ and https://www.w3.org/WAI/ARIA/apg/practices/keyboard-interface/ (one tab stop).
 * Gotcha: every word may be untrusted: text becomes part of the document only as text.
 */
/// <reference lib="dom" />

type Attributes = Readonly<Record<string, string>>

/** Returns an element that the page is written with. */
export const find = (id: string): HTMLElement => document.getElementById(id) as HTMLElement

/** Returns an element with attributes and content; text stays text. */
export function element(name: string, attributes: Attributes = {}, ...content: (Node | string)[]): HTMLElement {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...content)
  return made
}

/** Returns a button. */
export function button(text: string, press: () => void, attributes: Attributes = {}): HTMLElement {
  const made = element('button', { type: 'button', ...attributes }, text)
  made.addEventListener('click', press)
  return made
}

/** Returns the content of a table. A column whose heading starts with ">" is aligned to the right. */
export function tableParts(headings: readonly string[], rows: readonly HTMLElement[]): HTMLElement[] {
  const cells = headings.map((heading) =>
    element('th', { ...(heading.startsWith('>') ? { class: 'n' } : {}), scope: 'col' }, heading.replace('>', '')),
  )
  return [element('thead', {}, element('tr', {}, ...cells)), element('tbody', {}, ...rows)]
}

/** Makes `at` the one element of its group that the Tab key reaches. */
export function makeTabStop(at: HTMLOrSVGElement | undefined, group: Iterable<HTMLOrSVGElement>): void {
  for (const other of group) other.tabIndex = other === at ? 0 : -1
}

/** Runs the action that `actions` returns for a key, instead of what the browser does with that key. */
export function onKey(
  at: GlobalEventHandlers,
  actions: (event: KeyboardEvent) => Readonly<Record<string, () => void>>,
): void {
  at.addEventListener('keydown', (event) => {
    const action = actions(event)[event.key]
    if (action === undefined) return
    action()
    event.preventDefault()
  })
}
