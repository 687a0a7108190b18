/**
 * Text out of a file as it may stand in markup, and a value as it may stand in a script element.
 *
 * Source: https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
 * Gotcha: in a script element no character reference is read: only JSON's own escapes keep `</script>` from ending it.
 */
import { jsonText, printable } from '../printable.js'

const REFERENCES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text for element content and quoted attributes, of HTML and of XML; no control or bidirectional character is left. */
export function escapeText(text: string): string {
  return printable(text, Number.POSITIVE_INFINITY)
    .replace(/[\ufffe\uffff]/g, '\ufffd')
    .replace(/[&<>"']/g, (c) => REFERENCES[c] ?? c)
}

/** JSON that cannot end the script element it stands in. */
export function scriptJson(value: unknown): string {
  return jsonText(value).replace(/[<>&]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
