/**
 * The drawing: boxes light up with the bands that lead to them, and arrow keys go from box to box.
 *
 * Source: ../map-svg.ts, which gives a box data-p or data-v, and a band both; data-address where it can be looked up.
 * Gotcha: the page contains two drawings, a wide and a narrow one, and shows one of them.
 */
import { makeTabStop, onKey } from './dom.js'
import { search } from './search.js'

type Shape = SVGGElement | SVGPathElement

const touches = (box: Shape, band: Shape): boolean =>
  box.dataset.p === band.dataset.p || box.dataset.v === band.dataset.v

function startFigure(figure: SVGElement): void {
  const boxes = [...figure.querySelectorAll<SVGGElement>('.box')]
  const bands = [...figure.querySelectorAll<SVGPathElement>('.band')]
  const stops = boxes.filter(({ dataset }) => dataset.address !== undefined)
  const bandsOf = (box: Shape) => bands.filter((band) => touches(box, band))
  const light = (box: Shape, on: boolean) => {
    const lit = bandsOf(box).flatMap((band) => [band, ...boxes.filter((other) => touches(other, band))])
    for (const at of [box, ...lit]) at.classList.toggle('lit', on)
  }
  const to = (box: SVGGElement | undefined) => () => {
    if (!box) return
    makeTabStop(box, stops)
    box.focus()
  }
  makeTabStop(stops[0], stops)
  for (const [i, box] of stops.entries()) {
    const sameSide = (other: Shape) => other.dataset.side === box.dataset.side
    const partner = () => {
      const [band] = bandsOf(box)
      return band && stops.find((other) => !sameSide(other) && touches(other, band))
    }
    const choose = () => search(box.dataset.address ?? '')
    box.setAttribute('role', 'button')
    for (const start of ['pointerenter', 'focus'] as const) box.addEventListener(start, () => light(box, true))
    for (const end of ['pointerleave', 'blur'] as const) box.addEventListener(end, () => light(box, false))
    box.addEventListener('click', choose)
    onKey(box, () => ({
      ArrowDown: to(stops.slice(i + 1).find(sameSide)),
      ArrowUp: to(stops.slice(0, i).findLast(sameSide)),
      ArrowRight: to(partner()),
      ArrowLeft: to(partner()),
      Enter: choose,
      ' ': choose,
    }))
  }
}

/** Makes the drawings interactive. */
export function startFigures(): void {
  for (const figure of document.querySelectorAll<SVGElement>('.figure')) startFigure(figure)
}
