/**
 * map as SVG: the drawing of map-figure.ts, as a separate file or as a part of a page.
 *
 * Source: https://www.w3.org/TR/SVG2/
 * Gotcha: colours are CSS variables: a separate file must define them, light and dark; in a page the page does.
 */
import type { Domain } from '../guest/domain.js'
import { showSize } from '../units.js'
import { escapeText } from './escape.js'
import {
  type Band,
  type Box,
  type Figure,
  HEADING,
  type LegendEntry,
  layoutFigure,
  PADDING,
  SWATCH,
  WIDE,
} from './map-figure.js'
import { describeMap, type GuestMap } from './map-model.js'
import { FIGURE_STYLE, PALETTE } from './map-style.js'
import { shownName } from './table.js'

/** Returns the layout of a guest as an SVG file: light and dark, and complete in itself. */
export function mapSvg(domain: Domain): string {
  const map = describeMap(domain)
  const figure = layoutFigure(map, WIDE)
  const { guest } = map
  const title = escapeText(`${shownName(guest.name)}: ${guest.type} ${guest.abi}, ${showSize(guest.bytes)}`)
  const margin = 24
  const caption = 40
  const [width, height] = [figure.form.width + 2 * margin, figure.height + 2 * margin + caption]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">`,
    `<title id="title">${title}</title>`,
    `<style>${PALETTE}${FIGURE_STYLE}svg{font-size:${figure.form.fontSize}px}</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="caption" x="${margin}" y="${margin + 14}">${title}</text>`,
    `<g transform="translate(${margin} ${margin + caption})">`,
    ...drawing(figure, 'f', map),
    '</g>',
    '</svg>',
    '',
  ].join('\n')
}

/** Returns the drawing as a part of a page; `id` distinguishes it from other drawings there. */
export function figureSvg(map: GuestMap, figure: Figure, id: string, classes: string): string {
  const { width, fontSize } = figure.form
  return [
    `<svg class="figure ${classes}" viewBox="0 0 ${width} ${figure.height}" style="font-size:${fontSize}px" role="group" aria-label="${figure.isIdentity ? 'Memory: physical and virtual addresses are equal' : 'Physical memory to the left, virtual memory to the right'}">`,
    ...drawing(figure, id, map),
    '</svg>',
  ].join('\n')
}

function drawing(figure: Figure, id: string, map: GuestMap): string[] {
  const { form } = figure
  const right = form.width - form.boxWidth
  const left = figure.isIdentity ? `physical and virtual${map.paging.levels === 0 ? ': paging off' : ''}` : 'physical'
  return [
    `<defs><pattern id="${id}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern></defs>`,
    `<text class="heading" x="0" y="${HEADING - 16}">${left}</text>`,
    ...(figure.isIdentity ? [] : [`<text class="heading" x="${right}" y="${HEADING - 16}">virtual</text>`]),
    ...figure.bands.map((band) => bandPath(figure, band)),
    ...figure.physical.map((box, i) => boxGroup(figure, box, id, 'p', i)),
    ...figure.virtual.map((box, i) => boxGroup(figure, box, id, 'v', i)),
    ...figure.legend.map(legendGroup),
    ...(map.paging.fault === null
      ? []
      : [`<text class="name" x="${right}" y="${HEADING + 14}">no page tables can be read</text>`]),
  ]
}

const legendGroup = ({ x, y, tint, name }: LegendEntry): string =>
  `<g class="legend t${tint}"><rect class="body" x="${x + 0.5}" y="${y - SWATCH + 2}" width="${SWATCH}" height="${SWATCH}"/><text class="note" x="${x + SWATCH + 6}" y="${y}">${escapeText(name)}</text></g>`

function bandPath({ form }: Figure, { from, to, tint, scattered, physical, virtual }: Band): string {
  const [x0, x1] = [form.boxWidth, form.width - form.boxWidth]
  const middle = (x0 + x1) / 2
  const d = `M${x0} ${from[0]}C${middle} ${from[0]} ${middle} ${to[0]} ${x1} ${to[0]}V${to[1]}C${middle} ${to[1]} ${middle} ${from[1]} ${x0} ${from[1]}Z`
  const classes = ['band', tint === undefined ? 'plain' : `t${tint}`, ...(scattered ? ['scattered'] : [])].join(' ')
  return `<path class="${classes}" data-p="${physical}" data-v="${virtual}" d="${d}"/>`
}

function boxGroup({ form }: Figure, box: Box, id: string, side: 'p' | 'v', index: number): string {
  const { x, y, width, height, kind, tint } = box
  const line = Math.round(form.fontSize * 1.35)
  const data = box.address === undefined ? '' : ` data-address="${box.address}" data-side="${side}"`
  const open = `<g class="box ${kind}${tint === undefined ? '' : ` t${tint}`}" data-${side}="${index}"${data}><title>${escapeText(box.title)}</title>`
  if (kind === 'break') {
    const middle = y + height / 2
    const edge = (at: number) => `M${at} ${y}V${middle - 5}l-4 3.3l8 3.4l-4 3.3V${y + height}`
    return `${open}<path class="edge" d="${edge(x + 0.5)}${edge(x + width - 0.5)}"/><text class="note" x="${x + width / 2}" y="${middle + form.fontSize * 0.34}" text-anchor="middle">${escapeText(box.left[0] ?? '')}</text></g>`
  }
  const texts = [
    ...box.left.map((text, i) => ({ text, at: x + PADDING, anchor: '', i })),
    ...box.right.map((text, i) => ({ text, at: x + width - PADDING, anchor: ' text-anchor="end"', i })),
  ]
  const fill = kind === 'free' ? ` style="fill:url(#${id}-hatch)"` : ''
  return [
    open,
    `<rect class="ground" x="${x + 0.5}" y="${y}" width="${width - 1}" height="${height}"/>`,
    `<rect class="body" x="${x + 0.5}" y="${y}" width="${width - 1}" height="${height}"${fill}/>`,
    ...texts
      .filter(({ text }) => text !== '')
      .map(
        ({ text, at, anchor, i }) =>
          `<text class="${i === 0 ? 'name' : 'note'}" x="${at}" y="${Math.round((y + 2 + line * (i + 0.82)) * 10) / 10}"${anchor}>${escapeText(text)}</text>`,
      ),
    '</g>',
  ].join('')
}
