/**
 * The page's link: the address or the name that is shown, after the # of its URL, so that it can be sent to someone.
 *
 * Source: https://html.spec.whatwg.org/#dom-history-replacestate
 * Gotcha: the text is untrusted. Nothing is done with it, except a search.
 */

/** Makes the page's link lead to a text. */
export function link(text: string): void {
  history.replaceState(null, '', `#${encodeURIComponent(text)}`)
}

/** Returns the text that the page's link leads to; nothing for a damaged one. */
export function linked(): string {
  try {
    return decodeURIComponent(location.hash.slice(1))
  } catch {
    return ''
  }
}
