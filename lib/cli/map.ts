/**
 * map SNAPSHOT: the layout of a guest, physical and virtual, and where its boot information came from.
 *
 * Source: ../inspect/map.ts, map-picture.ts, map-svg.ts, map-html.ts.
 * Gotcha: --at explains one virtual address: every entry on its way through the page tables.
 */
import type { Domain } from '../guest/domain.js'
import { tellMap, walkText } from '../inspect/map.js'
import { mapHtml } from '../inspect/map-html.js'
import { describeMap } from '../inspect/map-model.js'
import { drawMap, pictureOptions } from '../inspect/map-picture.js'
import { mapSvg } from '../inspect/map-svg.js'
import { type Command, text, UsageError } from './command.js'
import { writeBytes } from './files.js'
import { openDomain } from './input.js'

/** What an output's name says that it is to be. */
const DRAWINGS: Readonly<Record<string, (domain: Domain) => string>> = { svg: mapSvg, html: mapHtml }

function drawingOf(output: string): (domain: Domain) => string {
  const extension = /\.([a-z]+)$/i.exec(output)?.[1]?.toLowerCase() ?? ''
  const draw = Object.hasOwn(DRAWINGS, extension) ? DRAWINGS[extension] : undefined
  if (!draw) throw new UsageError(`-o names a file that ends in .svg or .html; not '${output}'`)
  return draw
}

export const command: Command = {
  usage: 'map SNAPSHOT [-o FILE.svg|FILE.html] [--at VADDR]',
  help: 'Shows the layout of a guest: physical memory, virtual memory as its page tables have it, boot structures.',
  options: {
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      help: 'a drawing (.svg), or a page to look around in (.html), instead of text',
    },
    at: { type: 'string', value: 'VADDR', help: 'the walk of one virtual address, each entry explained' },
  },
  operands: [{ name: 'SNAPSHOT', file: true }],
  async run({ values, positionals, json, print, progress }) {
    const at = text(values, 'at')
    const output = text(values, 'output')
    if (at !== undefined && !/^0x[0-9a-f]{1,16}$/i.test(at)) throw new UsageError(`--at is a hex address; not '${at}'`)
    if (at !== undefined && output !== undefined) throw new UsageError('--at is answered in text: it takes no -o')
    const draw = output === undefined ? undefined : drawingOf(output)
    const domain = await openDomain(positionals[0] as string, progress)
    progress.end()
    if (output !== undefined && draw) {
      const bytes = Buffer.from(draw(domain))
      await writeBytes([{ name: output, bytes }])
      if (json) print(JSON.stringify({ output, bytes: bytes.length }, null, 2))
      return
    }
    if (at !== undefined) {
      const walk = walkText(domain, BigInt(at))
      print(...(json ? [JSON.stringify(walk, null, 2)] : walk))
      return
    }
    const map = describeMap(domain)
    if (json) {
      print(JSON.stringify(map, null, 2))
      return
    }
    print(...tellMap(map))
    // What is read by another program stays as it is.
    if (process.stdout.isTTY) print('', ...drawMap(map, pictureOptions(process.stdout, process.env)))
  },
}
