/** The verdict for each way to boot: the needs of the kernel, or the one cause of the refusal. */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { readKernel } from '../../lib/kernel/kernel.js'
import { bootVerdict, bootVerdicts } from '../../lib/kernel/verdict.js'
import { xenLoaderRemark } from '../../lib/kernel/xen-loader.js'
import {
  buildBzImage,
  buildElf,
  type ElfSpec,
  patternBytes,
  symbolSections,
  xenNotes,
} from '../../lib/testing/index.js'
import { storedLz4 } from '../fixtures/stored-lz4.js'

const spec: ElfSpec = { class: 64, entry: 0x1000000, segments: [{ paddr: 0x1000000, data: patternBytes(5000) }] }
const all = {
  XEN_VERSION: 'xen-3.0',
  LOADER: 'generic',
  GUEST_OS: 'linux',
  PHYS32_ENTRY: [0x1000100],
  FEATURES: '!writable_page_tables',
  PHYS32_RELOC: [],
}
const verdicts = async (bytes: Uint8Array) => bootVerdicts(await readKernel(bytes))

t.test('all three', async (t) => {
  t.same(await verdicts(buildElf({ ...spec, notes: xenNotes(all) })), [
    {
      type: 'pv',
      ok: true,
      entry: 0x1000000n,
      needs: [
        'a 64-bit PV guest',
        '16 MiB for the image [0x1000000, 0x1001388)'.replace('16 MiB', '16.0 MiB'),
        'features writable_page_tables',
      ],
    },
    {
      type: 'pvh',
      ok: true,
      entry: 0x1000100,
      needs: ['the image at [0x1000000, 0x1001388)', 'or moved within [0x0, 0x100000000), aligned to 0x1000'],
    },
    { type: 'linux', ok: true, entry: 0x1000000, needs: ['the 64-bit entry', 'the image at [0x1000000, 0x1001388)'] },
  ])
})

t.test('none, each with its cause', async (t) => {
  t.same(await verdicts(buildElf({ ...spec, entry: 0 })), [
    { type: 'pv', ok: false, code: 'not-xen-pv', reason: 'the ELF has neither Xen notes nor a __xen_guest section' },
    { type: 'pvh', ok: false, code: 'not-pvh', reason: 'the ELF has no Xen note, so no PHYS32_ENTRY' },
    {
      type: 'linux',
      ok: false,
      code: 'not-linux',
      reason:
        'the file does not say that it is Linux: expected a sign of Linux, or type linux by name, found no note or section of Linux',
    },
  ])
})

t.test('a bzImage without an ELF', async (t) => {
  const payload = patternBytes(0x400)
  t.match(await verdicts(buildBzImage({ payload, header: { payload_length: 0 } })), [
    { type: 'pv', ok: false, code: 'not-xen-pv', reason: 'the bzImage holds no ELF' },
    { type: 'pvh', ok: false, code: 'not-pvh' },
    {
      type: 'linux',
      ok: true,
      entry: 0x1000200,
      needs: [
        'boot protocol 2.15, claims the 64-bit, 32-bit, 16-bit entry',
        'an address that is a multiple of 0x200000',
        /MiB at 0x1000000/,
      ],
    },
  ])
  const [, , linux] = await verdicts(
    buildBzImage({ payload, protocol: 0x207, header: { code32_start: 0, relocatable_kernel: 0 } }),
  )
  t.match(linux, {
    ok: true,
    entry: undefined,
    needs: ['boot protocol 2.07, claims the 16-bit entry', 'to be loaded at 0x100000'],
  })
})

t.test('every need of a kernel is named', async (t) => {
  const symbols = symbolSections(64, [{ name: 'start', value: 0x1000000 }])
  const needs = async (file: Uint8Array, type: 'pv' | 'pvh' | 'linux') => {
    const found = bootVerdict(await readKernel(file), type)
    return found.ok ? found.needs : [found.reason]
  }
  const { PHYS32_RELOC: _, ...fixedImage } = all
  const high = { VIRT_BASE: 0xffffffff80000000n, ENTRY: 0xffffffff81000000n, INIT_P2M: 0xffffea0000000000n }
  const notes = xenNotes({ ...fixedImage, ...high, BSD_SYMTAB: 'yes' })
  const elf = buildElf({ ...spec, sections: symbols, notes })
  t.same((await needs(elf, 'pv')).slice(2), [
    'features writable_page_tables',
    'its p2m at 0xffffea0000000000',
    'its symbol table after the image',
  ])
  t.same((await needs(elf, 'pvh')).slice(1), ['its symbol table after the image'])
  const text = 'LOADER=generic,XEN_VER=xen-3.0,PAE=yes,VIRT_BASE=0xc0000000,ELF_PADDR_OFFSET=0xc0000000'
  const old = buildElf({
    class: 32,
    entry: 0xc0100000,
    segments: [{ paddr: 0xc0100000, data: patternBytes(5000) }],
    sections: [{ name: '__xen_guest', data: Buffer.from(`${text}\0`) }],
  })
  t.same((await needs(old, 'pv')).slice(2), ['its top page table below 4 GiB'])
  const image = (header: object) =>
    buildBzImage({ payload: patternBytes(0x400), header: { payload_length: 0, ...header } })
  const fixed = bootVerdict(
    await readKernel(image({ relocatable_kernel: 0, xloadflags: 0, pref_address: 0n })),
    'linux',
  )
  t.match(fixed, { ok: true, entry: 0x100000 }, 'the 32-bit entry is the load address')
  t.ok(fixed.ok && fixed.needs.includes('to be loaded at 0x100000, or to be moved there by a hook'))
})

t.test("a file that Xen's own library cannot load says so, and the kernel in it can boot", async (t) => {
  const remark = async (file: Uint8Array) => {
    const [pv] = bootVerdicts(await readKernel(file))
    return pv?.ok ? pv.needs.find((need) => need.startsWith('Xen itself cannot load')) : pv?.reason
  }
  const elf = buildElf({ ...spec, notes: xenNotes(all) })
  t.equal(await remark(elf), undefined)
  t.equal(await remark(gzipSync(elf)), undefined)
  const only = 'Xen itself cannot load this file; extract it with xdb extract: of compressed files, it takes only gzip'
  t.equal(await remark(storedLz4(elf)), only)
  const image = await readKernel(buildBzImage({ payload: storedLz4(elf), sizeTrailer: elf.length }))
  t.equal(xenLoaderRemark(image), undefined)
  t.match(xenLoaderRemark({ ...image, codec: 'lzo' }), /: its library may be built without lzo, as Debian's is$/)
  const unnamed = await readKernel(buildBzImage({ payload: elf, header: { payload_length: 0 } }))
  t.match(xenLoaderRemark(unnamed), /: the setup header names no payload$/)
})

t.test('an ELF that nothing calls Linux', async (t) => {
  const kernel = await readKernel(buildElf(spec))
  t.match(bootVerdicts(kernel)[2], { ok: false, code: 'not-linux' })
  t.match(bootVerdict(kernel, 'linux'), {
    ok: true,
    needs: ['the 64-bit entry', /image/, 'to be Linux: the file has no note or section of Linux'],
  })
})
