/**
 * mapPicture: the drawing of a guest for a terminal.
 *
 * Source: lib/inspect/map-picture.ts, lib/inspect/canvas.ts.
 * Gotcha: exact pictures break easily, so there is only one, at 80 columns; all others are checked by general rules.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  describeMap,
  mapPicture,
  mapText,
  openSnapshot,
  pictureOptions,
  readKernel,
  writeXl,
} from '../../lib/index.js'
import { drawMap } from '../../lib/inspect/map-picture.js'
import { MAIN } from '../cli/command.js'
import { openTerminal, TERMINAL } from '../cli/terminal.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { findCommands } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { GUESTS, hostile } from './map-guests.js'

const MiB = 2 ** 20
const hello = async (): Promise<Domain> => buildDomain(await readKernel(helloKernel()), { memory: 32 * MiB })

t.test('the guest of npm start in 80 columns', async (t) => {
  const drawn = mapPicture(await hello(), { columns: 80 })
  t.equal(drawn.join('\n'), HELLO.trim())
  const plain = mapPicture(await hello(), { columns: 80, ascii: true }).join('\n')
  t.match(plain, /^[\x20-\x7e\n]*$/)
  t.match(plain, '| 0x100  kernel         4 KiB |<--------+ 0xffff880000100000  kernel       rwx |')
})

t.test('virtual memory in another order: the arrow goes around, over those it crosses', async (t) => {
  const drawn = mapPicture(await (GUESTS.pv64 as () => Promise<Domain>)(), { columns: 80 })
  const lines = drawn.map((line) => line.slice(34, 62))
  t.ok(lines.includes('  ┌───┤ 0x0000008000000000  '), 'it leaves the p2m')
  t.ok(lines.includes('◄─┼───┤ 0xffffffff80100000  '), 'it crosses the kernel’s')
  t.ok(
    drawn.some((line) => /^│ 0x400 {2}p2m +64 KiB │◄─┘$/.test(line)),
    'it ends at the p2m',
  )
})

/** Checks the rules for every picture of every guest. */
function holds(t: Test, domain: Domain, what: string): void {
  const map = describeMap(domain)
  for (let columns = 60; columns <= 200; columns += 1) {
    for (const ascii of columns % 10 === 0 ? [false, true] : [false]) {
      const lines = drawMap(map, { columns, ascii })
      const wrong = lines.find((line) => line.length > columns || !PRINTED.test(line) || /\s$/.test(line))
      if (wrong !== undefined) t.fail(`${what} in ${columns} columns: ${JSON.stringify(wrong)}`)
      // Each side has at most 24 boxes, with breaks between them, each of five lines at most.
      if (lines.length > 300) t.fail(`${what}: ${lines.length} lines`)
    }
  }
  const coloured = drawMap(map, { columns: 80, colour: true }).join('\n')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes are control characters
  const bare = coloured.replaceAll(/\x1b\[[0-9;]+m/g, '')
  t.equal(bare, drawMap(map, { columns: 80 }).join('\n'), `${what}: colours change no letter`)
}
/** Letters of one column each, and the characters of drawings. */
const PRINTED = /^[\x20-\x7e\u00a1-\u024f┌┐└┘├┤┬┴┼─│┄┊◄…]*$/

t.test('no line is wider than asked, for any guest', async (t) => {
  for (const [name, make] of Object.entries({ hello, ...GUESTS })) {
    const domain = await make()
    holds(t, domain, name)
    holds(t, hostile(domain), `${name}, hostile`)
  }
  const strange = { ...(await hello()) }
  const names = ['\u202eevil', 'ﬂ宽字\u0301', '\x1b[2Jx', 'e'.repeat(100_000), 'é', '\u00ad', '👩‍💻']
  holds(t, { ...strange, regions: strange.regions.map((one, i) => ({ ...one, name: names[i % 7] ?? '' })) }, 'strange')
})

t.test('a guest of many regions and a huge one are bounded', async (t) => {
  const domain = await hello()
  const regions = Array.from({ length: 5000 }, (_, i) => ({ name: `r${i}`, pfn: i, pages: 1 }))
  const many = mapPicture({ ...domain, regions }, { columns: 80 })
  t.ok(many.length < 120, `${many.length} lines`)
  t.match(many.join('\n'), /and \d+ more ranges/)
  t.match(many.join('\n'), /\d+ runs/)
  const huge = buildDomain(await readKernel(pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } })), {
    type: 'pv',
    memory: 2 ** 40,
  })
  holds(t, huge, 'a terabyte')
})

t.test('tables that cannot be read: physical memory alone, and why', async (t) => {
  const domain = await hello()
  const [vcpu] = domain.vcpus
  if (!vcpu) return t.fail('no vcpu')
  const broken = { ...domain, vcpus: [{ ...vcpu, cr3: 0xfffffffff000n }] }
  holds(t, broken, 'broken')
  t.match(mapPicture(broken, { columns: 80 }).join('\n'), /└─+┘\n\n.*\n.*\nThe page tables cannot be read: cr3 /)
})

t.test('map ends with it at a terminal, and not in a pipe', async (t) => {
  if (!(await requirePeer(t, () => findCommands(TERMINAL)))) return
  const file = join(t.testdir(), 'guest.xl')
  const bytes = Buffer.concat([...writeXl(await hello())])
  writeFileSync(file, bytes)
  const guest = await openSnapshot(bytesSource(bytes))
  const terminal = openTerminal(`'${process.execPath}' '${MAIN}' map '${file}'`, {})
  t.teardown(() => terminal.end())
  const shown = await terminal.type('', /executable\./)
  t.equal(shown.slice(shown.lastIndexOf('physical memory')).trimEnd(), mapPicture(guest, { columns: 200 }).join('\n'))
  const piped = spawnSync(process.execPath, [MAIN, 'map', file], { encoding: 'utf8' }).stdout
  t.equal(piped, `${mapText(guest).join('\n')}\n`)
})

t.test('fewer than 60 columns are refused, and never chosen', async (t) => {
  const domain = await hello()
  for (const columns of [59, 0, -1, 80.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => mapPicture(domain, { columns }), { code: 'bad-config', message: /columns/ })
  }
  const colours = { hasColors: () => true }
  t.same(pictureOptions({}, {}), { columns: 80, colour: false, ascii: true })
  t.same(pictureOptions({ columns: 20, ...colours }, { LANG: 'C' }), { columns: 60, colour: true, ascii: true })
  t.same(pictureOptions({ columns: 999 }, { LANG: 'en_US.UTF-8' }), { columns: 200, colour: false, ascii: false })
  t.same(pictureOptions({ columns: 100 }, { LANG: 'en_US.UTF-8', LC_ALL: 'C' }).ascii, true, 'LC_ALL wins')
  t.same(pictureOptions({ columns: 100 }, { LANG: 'C', LC_CTYPE: 'C.utf8' }).ascii, false, 'then LC_CTYPE')
})

const HELLO = `
physical memory, 32 MiB                 virtual memory
  pfn    what            size             vaddr               what
                                        ┌──────────────────────────────────────┐
                                        ┊ not mapped                           ┊
┌─────────────────────────────┐         ├──────────────────────────────────────┤
│ 0x0    pad            1 MiB │◄────────┤ 0xffff880000000000  pad          rwx │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x100  kernel         4 KiB │◄────────┤ 0xffff880000100000  kernel       rwx │
│                             │         │ rip: the first instruction           │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x101  p2m           64 KiB │◄────────┤ 0xffff880000101000  p2m          rwx │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x111  start_info     4 KiB │◄────────┤ 0xffff880000111000  start_info   rwx │
│                             │         │ rsi: boot information                │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x112  xenstore       4 KiB │◄────────┤ 0xffff880000112000  xenstore     rwx │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x113  console        4 KiB │◄────────┤ 0xffff880000113000  console      rwx │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x114  page_tables   20 KiB │◄────────┤ 0xffff880000114000  page_tables  r-x │
│ cr3: the top page table     │         │                                      │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x119  boot_stack     4 KiB │◄────────┤ 0xffff880000119000  boot_stack   rwx │
│                             │         │ rsp: the stack                       │
├─────────────────────────────┤         ├──────────────────────────────────────┤
│ 0x11a  pad          2.9 MiB │◄────────┤ 0xffff88000011a000  pad          rwx │
│                             │         │                                      │
├─────────────────────────────┤         └──────────────────────────────────────┘
│ 0x400  free          28 MiB │
│                             │
└─────────────────────────────┘

pfn: the number of a page of 4 KiB. vaddr: an address that the guest uses.
Taller boxes hold more.
An arrow leads from an address to its memory. r, w, x: readable, writable,
executable.
`
