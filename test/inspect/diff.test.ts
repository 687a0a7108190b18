/**
 * diff names the changed parts, and nothing else.
 *
 * Source: lib/inspect/diff.ts, lib/inspect/diff-kernels.ts.
 * Gotcha: a guest's memory changes in place, so each change needs a separate guest.
 */
import t from 'tap'
import { buildDomain, type Domain, diffDomains, diffKernels, diffText, readKernel, translate } from '../../lib/index.js'
import { paddrOf } from '../../lib/units.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { GUESTS } from './map-guests.js'

const guest = (name: string): Promise<Domain> => (GUESTS[name] as () => Promise<Domain>)()

t.test('a guest differs in nothing from itself', async (t) => {
  for (const name of Object.keys(GUESTS)) {
    t.same(
      diffDomains(await guest(name), await guest(name)),
      { fields: [], entries: [], entriesFound: 0, pages: [] },
      name,
    )
  }
})

t.test('a page-table entry is named by its table, index and address, with the bits of both', async (t) => {
  for (const name of ['pv64', 'pv32', 'linux, hybrid']) {
    const [a, b] = [await guest(name), await guest(name)]
    const rip = a.vcpus[0]?.registers.rip ?? 0n
    const step = translate(a, rip)?.path.at(-1)
    if (!step) return t.fail(`${name}: the entry is mapped`)
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, step.entry & ~2n, true)
    b.memory.write(paddrOf(step.pfn) + step.index * 8, bytes)
    const { entries, pages, fields } = diffDomains(a, b)
    t.match(entries, [{ level: step.level, pfn: step.pfn, index: step.index }], name)
    t.equal(entries.length, 1)
    t.equal(BigInt(entries[0]?.a ?? 0) ^ BigInt(entries[0]?.b ?? 0), 2n)
    t.match(pages, [{ pfn: step.pfn, pages: 1, region: 'page_tables' }])
    t.same(fields, [])
    t.match(diffText(diffDomains(a, b))[0], /^L\d at pfn 0x[0-9a-f]+, entry \d+ \(0x[0-9a-f]+\): .* rw .* \| /)
  }
})

t.test('fields of boot_params and hvm_start_info, and regions, by name', async (t) => {
  for (const [name, what] of [
    ['linux, paging off', 'boot_params.hdr.type_of_loader'],
    ['pvh', 'hvm_start_info.flags'],
  ] as const) {
    const [a, b] = [await guest(name), await guest(name)]
    const at =
      b.boot.kind === 'boot_params'
        ? b.boot.bootParams + 0x210
        : b.boot.kind === 'hvm_start_info'
          ? (b.boot.hvmStartInfo ?? 0) + 8
          : 0
    b.memory.write(at, Uint8Array.of(0x1))
    t.same(
      diffDomains(a, b).fields.map((field) => field.what),
      [what],
    )
  }
  const kernel = await readKernel(pvKernelFile())
  const [small, large] = [3, 5].map((pages) =>
    buildDomain(kernel, { type: 'pv', memory: 2 ** 24, ramdisk: new Uint8Array(pages * 4096).fill(1) }),
  ) as [Domain, Domain]
  const found = diffDomains(small, large).fields.find((field) => field.what === 'region ramdisk')
  t.match(found, { a: /3 pages$/, b: /5 pages$/ })
})

t.test('the holes of a guest of 1 TiB are not looked at', async (t) => {
  const kernel = await readKernel(pvhKernelFile())
  const [a, b] = [1, 2].map(() => buildDomain(kernel, { type: 'pvh', memory: 2 ** 40 })) as [Domain, Domain]
  const read = t.capture(b.memory, 'readInto', b.memory.readInto.bind(b.memory))
  t.same(diffDomains(a, b).pages, [])
  t.ok(read().length < 1000, 'pages of what it holds, no more')
})

t.test('two kernels: headers, notes and bytes', async (t) => {
  const file = pvKernelFile()
  const kernel = await readKernel(file)
  t.same(diffKernels(kernel, await readKernel(file.slice())), [])
  const other = await readKernel(pvKernelFile({ pages: 4, notes: { GUEST_OS: 'other' } }))
  const said = new Map(diffKernels(kernel, other).map(({ what, a, b }) => [what, [a, b]]))
  t.same(said.get('note Xen GUEST_OS'), ['test', 'other'])
  t.ok(said.has('elf.segments[0].filesz'))
  t.notOk(said.has('note Xen LOADER'))
  const changed = file.slice()
  const at = kernel.elf?.segments[0]?.offset ?? 0
  changed[at + 100] = (changed[at + 100] ?? 0) ^ 0xff
  const bytes = diffKernels(kernel, await readKernel(changed)).map(({ what }) => what)
  t.same(bytes, ['sha256', 'elf.segments[0] from byte 0x64 on'])
})
