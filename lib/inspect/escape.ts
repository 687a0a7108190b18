/**
 * Escaping: text from a file for markup, and a value for a script element.
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

/** Returns text for content and quoted attributes of HTML and XML, without control or bidirectional characters. */
export function escapeText(text: string): string {
  return printable(text, Number.POSITIVE_INFINITY)
    .replace(/[\ufffe\uffff]/g, '\ufffd')
    .replace(/[&<>"']/g, (c) => REFERENCES[c] ?? c)
}

/** Returns JSON that cannot end the script element around it. */
export function scriptJson(value: unknown): string {
  return jsonText(value).replace(/[<>&]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
