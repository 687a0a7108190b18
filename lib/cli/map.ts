/**
 * map SNAPSHOT: the layout of a guest, physical and virtual, and the origin of its boot information.
 *
 * Source: ../inspect/map.ts, map-picture.ts, map-svg.ts, map-html.ts.
 * Gotcha: --at explains one virtual address: every entry on its path through the page tables. A number is virtual here.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { translate } from '../guest/translate.js'
import { locator } from '../inspect/location.js'
import { tellMap } from '../inspect/map.js'
import { type MapPageOptions, mapHtml } from '../inspect/map-html.js'
import { describeMap } from '../inspect/map-model.js'
import { drawMap, pictureOptions } from '../inspect/map-picture.js'
import { mapSvg } from '../inspect/map-svg.js'
import { type Place, seenBy } from '../inspect/place.js'
import { describeWalk, walkText } from '../inspect/walk.js'
import { hex, type Vaddr } from '../units.js'
import { ADDRESS_HELP, resolver } from './addresses.js'
import { type Command, invalidValue, Refused, text, UsageError } from './command.js'
import { writeBytes } from './files.js'
import { openDomain } from './input.js'
import { printPicture } from './printer.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

type Draw = (domain: Domain, options: MapPageOptions) => string

/** The drawing for each extension of an output's name. */
const DRAWINGS: Readonly<Record<string, Draw>> = { svg: mapSvg, html: mapHtml }

function drawingOf(output: string): Draw {
  const extension = /\.([a-z]+)$/i.exec(output)?.[1]?.toLowerCase() ?? ''
  const draw = Object.hasOwn(DRAWINGS, extension) ? DRAWINGS[extension] : undefined
  if (!draw) throw invalidValue('-o', output, 'a name that ends in .svg or .html')
  return draw
}

/** Returns the virtual address of a place: for a physical one, the first that maps it. */
function virtualOf(domain: Domain, place: Place): Vaddr {
  if (place.space === 'virtual') return place.vaddr
  const [vaddr] = locator(domain)(place.paddr).vaddrs
  if (vaddr !== undefined) return vaddr
  throw new DomainBuilderError('not-mapped', 'the page tables do not map that address', {
    found: `physical ${hex(place.paddr)}`,
  })
}

export const command: Command = {
  usage: 'map SNAPSHOT [-o FILE.svg|FILE.html] [--at ADDRESS] [--symbols FILE]',
  help: `Shows the layout of a guest: physical memory, virtual memory as its page tables map it, boot structures.
${ADDRESS_HELP} A region is shown at the first virtual address that maps it.`,
  options: {
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      help: 'a drawing (.svg) or an interactive page (.html), instead of text',
    },
    at: {
      type: 'string',
      value: 'ADDRESS',
      help: 'the walk of one virtual address, each entry explained; exit status 1 if it is not mapped',
    },
    ...symbolsOption,
  },
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: [
    'map guest.img',
    'map guest.img -o map.html',
    'map guest.img --at 0xffffffff81000000',
    'map guest.img --at rip',
  ],
  async run({ values, positionals, json, progress, answer }) {
    const at = text(values, 'at')
    const output = text(values, 'output')
    if (at !== undefined && output !== undefined) throw new UsageError('--at prints text, and takes no -o')
    const draw = output === undefined ? undefined : drawingOf(output)
    if (text(values, 'symbols') !== undefined && at === undefined && draw !== mapHtml) {
      throw new UsageError('--symbols is for --at and for a page: give -o a name that ends in .html')
    }
    const domain = await openDomain(positionals[0] as string, progress)
    progress.end()
    if (output !== undefined && draw) {
      const symbols = draw === mapHtml ? await symbolsOf(values, domain, progress) : undefined
      progress.end()
      const bytes = Buffer.from(draw(domain, defined({ symbols })))
      await writeBytes([{ name: output, bytes }])
      answer('drawing', { json: () => ({ output, bytes: bytes.length }) })
    } else if (at !== undefined) {
      const addresses = resolver(values, domain, progress)
      const place = await addresses.resolve(at, 'virtual')
      const vaddr = virtualOf(domain, place)
      const view = place.space === 'virtual' ? seenBy(domain, place.vcpu) : domain
      const symbols = await addresses.symbols()
      progress.end()
      answer('walk', { json: () => describeWalk(view, vaddr, symbols), text: () => walkText(view, vaddr, symbols) })
      if (translate(view, vaddr) === undefined) throw new Refused()
    } else {
      const map = describeMap(domain)
      answer('map', { json: () => map, text: () => tellMap(map) })
      if (!json) printPicture((terminal) => drawMap(map, pictureOptions(terminal, process.env)))
    }
  },
}
