/**
 * Canvas: characters in rows, where lines that meet become a corner or a crossing.
 *
 * Source: Unicode 15, box drawing (U+2500 to U+257F); ECMA-48, SGR.
 * Gotcha: each character must take one column of a terminal, and only the caller can ensure that.
 */

/** A tint by its number, or the weight of a text. */
export type Style = number | 'plain' | 'dim' | 'strong'

const [UP, RIGHT, DOWN, LEFT] = [1, 2, 4, 8] as const
/** Indexed by the sum of the directions in which lines leave a place. */
const JOINTS = [...' │─└││┌├─┘─┴┐┤┬┼']
const DASHED: Readonly<Record<string, string>> = { '│': '┊', '─': '┄' }
const ASCII: Readonly<Record<string, string>> = { '│': '|', '─': '-', '┊': ':', '┄': '.', '◄': '<', '…': '~', '┼': '|' }
/** Foregrounds that every terminal has, in the order of tints. */
const TINT_CODES = [36, 33, 35, 32, 34, 31, 96, 93, 95, 92] as const
const CODES: Readonly<Record<string, number>> = { plain: 0, dim: 2, strong: 1 }

interface Place {
  /** A character; empty where there are only lines. */
  letter: string
  directions: number
  dashed: boolean
  style: Style
}

/** A drawing of lines and text that grows downwards as it is filled. */
export class Canvas {
  readonly #ascii: boolean
  readonly #rows: Place[][] = []

  /** Draws with ASCII alone where `ascii` is true. */
  constructor(ascii: boolean) {
    this.#ascii = ascii
  }

  /** Writes a text over the existing content. */
  put(x: number, y: number, text: string, style: Style = 'plain'): void {
    for (const [i, letter] of [...text].entries()) Object.assign(this.#at(x + i, y), { letter, style })
  }

  /** Draws a horizontal or vertical line from one place to another, both included. */
  line(x0: number, y0: number, x1: number, y1: number, style: Style = 'plain', dashed = false): void {
    const [dx, dy] = [Math.sign(x1 - x0), Math.sign(y1 - y0)]
    const [back, ahead] = dy === 0 ? (dx > 0 ? [LEFT, RIGHT] : [RIGHT, LEFT]) : dy > 0 ? [UP, DOWN] : [DOWN, UP]
    const steps = Math.abs(x1 - x0) + Math.abs(y1 - y0)
    for (let i = 0; i <= steps; i++) {
      const place = this.#at(x0 + i * dx, y0 + i * dy)
      if (place.directions === 0) Object.assign(place, { style, dashed })
      place.dashed &&= dashed
      place.directions |= (i > 0 ? back : 0) | (i < steps ? ahead : 0)
    }
  }

  /** Returns the drawing as lines, with nothing after the last character of a line. */
  lines(colour: boolean): string[] {
    return this.#rows.map((row) => {
      const letters = Array.from(row, (place) => (place === undefined ? ' ' : this.#shown(place)))
      const end = letters.findLastIndex((letter) => letter !== ' ') + 1
      if (!colour) return letters.slice(0, end).join('')
      let line = ''
      let current = 0
      for (const [x, letter] of letters.slice(0, end).entries()) {
        const code = letter === ' ' ? current : codeOf(row[x]?.style ?? 'plain')
        if (code !== current) line += `\x1b[${code === 0 || current === 0 ? '' : '0;'}${code}m`
        current = code
        line += letter
      }
      return current === 0 ? line : `${line}\x1b[0m`
    })
  }

  #at(x: number, y: number): Place {
    while (this.#rows.length <= y) this.#rows.push([])
    const row = this.#rows[y] as Place[]
    row[x] ??= { letter: '', directions: 0, dashed: false, style: 'plain' }
    return row[x]
  }

  #shown({ letter, directions, dashed }: Place): string {
    const joint = JOINTS[directions] ?? ' '
    const shown = letter || (dashed ? (DASHED[joint] ?? joint) : joint)
    if (!this.#ascii || /^[\x20-\x7e]$/.test(shown)) return shown
    return ASCII[shown] ?? '+'
  }
}

const codeOf = (style: Style): number =>
  typeof style === 'number' ? (TINT_CODES[style % TINT_CODES.length] ?? 0) : (CODES[style] ?? 0)
