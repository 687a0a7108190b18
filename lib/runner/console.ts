/**
 * The console of a guest as text. A guest may print for ever, so the middle of a long console is left out.
 *
 * Source: https://encoding.spec.whatwg.org/#interface-textdecoder
 * Gotcha: bytes that are not UTF-8 become U+FFFD. A character may come in two pieces.
 */

/** The characters that are kept of the beginning, and at least of the end. */
const KEPT = 1 << 20

/** Text that comes in pieces. */
export class Console {
  readonly #decoder = new TextDecoder()
  #start = ''
  #end = ''
  #omitted = 0

  /** Adds bytes that the guest wrote. */
  add(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true })
    const room = KEPT - this.#start.length
    this.#start += text.slice(0, room)
    this.#end += text.slice(room)
    if (this.#end.length < 2 * KEPT) return
    this.#omitted += this.#end.length - KEPT
    this.#end = this.#end.slice(-KEPT)
  }

  /** The text so far. A line stands for the characters that are left out. */
  get text(): string {
    const gap = this.#omitted === 0 ? '' : `\n[${this.#omitted} characters are left out]\n`
    return this.#start + gap + this.#end
  }
}
