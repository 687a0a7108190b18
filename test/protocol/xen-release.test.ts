/**
 * Guests and files by the release of Xen that they are for.
 *
 * Source: lib/abi/xen-release.ts; test/peer/releases.long.ts compares the PV guests with each release's libxenguest.
 * Gotcha: a request by name is done or refused, so each refusal is here too.
 */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import {
  buildDomain,
  type Domain,
  type DomainConfig,
  readKernel,
  readStartInfo,
  type XenRelease,
} from '../../lib/index.js'
import { writeXl } from '../../lib/snapshot/xen-save.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const MIB = 2 ** 20
/** The offset of `connection` in the console page, by hand: two rings, four indexes. */
const CONNECTION = 1024 + 2048 + 4 * 4

async function build(config: Partial<DomainConfig>, file = pvKernelFile()): Promise<Domain> {
  return buildDomain(await readKernel(file), { type: 'pv', memory: 64 * MIB, ...config } as DomainConfig)
}

function connection(domain: Domain): number {
  const pfn = domain.regions.find(({ name }) => name === 'console')?.pfn ?? 0
  const page = domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
  const others = page.filter((byte, at) => at !== CONNECTION && byte !== 0)
  return others.length === 0 ? (page[CONNECTION] ?? -1) : -1
}

t.test('the console page of a created guest begins as disconnected from 4.21 on', async (t) => {
  for (const [type, file] of [
    ['pv', pvKernelFile()],
    ['pvh', pvhKernelFile()],
  ] as const) {
    t.equal(connection(await build({ type }, file)), 1, `${type}, the newest`)
    t.equal(connection(await build({ type, xen: '4.21' }, file)), 1, `${type}, 4.21`)
    t.equal(connection(await build({ type, xen: '4.20' }, file)), 0, `${type}, 4.20`)
    t.equal(connection(await build({ type, purpose: 'restore' }, file)), 0, `${type}, restored: its host marks it`)
  }
  t.equal(connection(await build({ purpose: 'vmm' })), 0, 'a VMM is no Xen')
})

t.test('a gzip ramdisk is decompressed up to 4.19, with 16 bytes after it', async (t) => {
  const plain = pattern(5000)
  const zipped = new Uint8Array(gzipSync(plain))
  for (const [xen, length, first] of [
    ['4.17', 5016, plain],
    ['4.19', 5016, plain],
    ['4.20', zipped.length, zipped],
    ['4.16', 2 * PAGE_SIZE, plain],
  ] as const) {
    const pv = await build({ xen, ramdisk: zipped })
    t.equal(readStartInfo(pv).mod_len, BigInt(length), xen)
    const pfn = pv.regions.find(({ name }) => name === 'ramdisk')?.pfn ?? 0
    t.same(pv.memory.read(pfn * PAGE_SIZE, first.length), first, xen)
    const pvh = await build({ type: 'pvh', xen, ramdisk: zipped }, pvhKernelFile())
    const at = pvh.regions.find(({ name }) => name === 'ramdisk')?.pfn ?? 0
    t.same(pvh.memory.read(at * PAGE_SIZE, first.length), first, `pvh, ${xen}`)
  }
})

t.test('the claim of a gzip ramdisk costs nothing', async (t) => {
  const liar = new Uint8Array(gzipSync(pattern(50)))
  new DataView(liar.buffer).setUint32(liar.length - 4, 2 ** 30 - 16, true)
  await t.rejects(build({ xen: '4.17', ramdisk: liar }), { code: 'memory-too-small' })
  const bomb = new Uint8Array(gzipSync(new Uint8Array(64 * MIB)))
  new DataView(bomb.buffer).setUint32(bomb.length - 4, 100, true)
  const pv = await build({ xen: '4.17', ramdisk: bomb })
  t.equal(readStartInfo(pv).mod_len, BigInt(bomb.length), 'too long for its claim: loaded as it is')
})

t.test('the notes of a PVH kernel are read as that Xen reads them', async (t) => {
  const moved = { type: 'pvh', loadAddress: 0x2000000 } as const
  const reloc = pvhKernelFile({ notes: { PHYS32_RELOC: [0x200000] } })
  await build({ ...moved, xen: '4.19' }, reloc)
  await t.rejects(build({ ...moved, xen: '4.18' }, reloc), {
    code: 'does-not-fit',
    message: /since Xen 4\.18 does not move a PVH kernel/,
  })
  const offset = pvhKernelFile({ notes: { PADDR_OFFSET: 0n } })
  await build({ type: 'pvh', xen: '4.18' }, offset)
  await t.rejects(build({ type: 'pvh', xen: '4.17' }, offset), { code: 'wrong-layout', message: /VIRT_BASE/ })
  const both = pvhKernelFile({ notes: { PADDR_OFFSET: 0x1000n, VIRT_BASE: 0x1000n } })
  await build({ type: 'pvh', xen: '4.16' }, both)
  await t.rejects(build({ type: 'pvh', xen: '4.15' }, both), { code: 'wrong-layout', message: /Xen 4\.15/ })
})

t.test('a release is refused where it means nothing, or is unknown', async (t) => {
  const refused = { code: 'bad-config', message: /^xen/ }
  await t.rejects(build({ xen: '4.13' as XenRelease }), refused)
  await t.rejects(build({ type: 'linux', xen: '4.17' } as object, linuxKernelFile()), refused)
  await t.rejects(build({ type: 'auto', purpose: 'vmm', xen: '4.17' } as object, linuxKernelFile()), refused)
  await t.rejects(build({ type: 'pvh', platform: 'pc', xen: '4.17' } as object, pvhKernelFile()), refused)
})

t.test('a save file names the release that it is for', async (t) => {
  const guest = await build({ purpose: 'restore' })
  const bytesOf = (options: Parameters<typeof writeXl>[1]) => Buffer.concat([...writeXl(guest, options)])
  const named = (xen: XenRelease, file: Buffer) => {
    const at = file.indexOf('XENF') + 24
    t.same([file.readUInt32LE(at), file.readUInt32LE(at + 4)].join('.'), xen)
  }
  named('4.22', bytesOf({}))
  named('4.17', bytesOf({ xen: '4.17' }))
  t.throws(() => writeXl(guest, { xen: '4.17', version: 2 }), { code: 'bad-config', message: /version 3/ })
  t.throws(() => writeXl(guest, { xen: '5.0' as XenRelease }), { code: 'bad-config' })
})
