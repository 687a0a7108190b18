/**
 * Xen's streams outside a file of xl: a libxl stream and a libxc stream alone, and a suspended VM of XCP-ng.
 *
 * Source: test/fixtures/suspend-image.ts; Xen's verify-stream-v2 checks the stream within.
 * Gotcha: such a file has no configuration, so the guest has no name, and its vcpus are those that ran.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { SUSPEND_SIGNATURE, SUSPEND_SIGNATURE_LEGACY } from '../../lib/abi/suspend-image.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  readKernel,
  sniffSnapshot,
  writeXl,
} from '../../lib/index.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { hvmSaveFile } from '../fixtures/hvm-save.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, sameGuest } from '../fixtures/snapshots.js'
import { libxcOf, libxlOf, suspendImage } from '../fixtures/suspend-image.js'
import { requirePeer } from '../peer/require-peer.js'
import { findVerifyStream } from '../peer/verify-stream.js'

const MiB = 2 ** 20
const xlOf = (guest: Domain): Uint8Array => bytesOf(writeXl(guest))
const built = async (type: 'pv' | 'pvh'): Promise<Domain> => {
  const kernel = await readKernel(type === 'pv' ? pvKernelFile() : pvhKernelFile({ paddr: 0x100000 }))
  return buildDomain(kernel, { type, memory: 8 * MiB, vcpus: 1, purpose: 'restore' })
}
const FILES: Readonly<Record<string, Uint8Array>> = {
  pv: xlOf(await built('pv')),
  pvh: xlOf(await built('pvh')),
  hvm: hvmSaveFile({ xenstoreData: '' }),
}
const image = (name: string): Uint8Array =>
  suspendImage(libxcOf(FILES[name] as Uint8Array), name === 'hvm' ? Buffer.from('QEVM') : undefined)

for (const [name, xl] of Object.entries(FILES)) {
  t.test(name, async (t) => {
    const wanted = openXl(bytesSource(xl))
    const kept = { libxl: libxlOf(xl), libxc: libxcOf(xl), 'suspend image': image(name) }
    for (const [what, bytes] of Object.entries(kept)) {
      t.equal(await sniffSnapshot(bytesSource(bytes)), 'xl', what)
      const guest = await openSnapshot(bytesSource(bytes))
      t.equal(guest.type, name, what)
      sameGuest(t, guest, { ...wanted, vcpus: wanted.vcpus.filter(({ online }) => online) }, what)
      t.equal(guest.saved?.config, undefined)
    }
    const records = (await openSnapshot(bytesSource(image(name)))).saved?.records.map(({ name }) => name) ?? []
    const model = name === 'hvm' ? ['Qemu_trad'] : []
    t.same(
      records.filter((one) => /^[A-Z][a-z]|^record/.test(one)),
      ['Xenops', ...model, 'record 0xf77'],
    )
  })
}

t.test("Xen's own checker takes the stream within", async (t) => {
  const verify = await requirePeer(t, findVerifyStream)
  if (!verify) return
  const folder = mkdtempSync(join(tmpdir(), 'xdb-suspend-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [name, xl] of Object.entries(FILES)) {
    const path = join(folder, name)
    writeFileSync(path, libxcOf(xl))
    t.equal(verify(path, 'libxc'), undefined, `${name}: libxc`)
    writeFileSync(path, libxlOf(xl))
    t.equal(verify(path, 'libxl'), undefined, `${name}: libxl`)
  }
})

t.test('damage, and what is not supported', async (t) => {
  const file = image('pv')
  const rejects = (bytes: Uint8Array, code: string, message: RegExp) =>
    t.rejects(openSnapshot(bytesSource(bytes)), { code, message, offset: Number })
  const changed = (at: number, bytes: readonly number[]): Uint8Array => {
    const copy = file.slice()
    copy.set(bytes, at)
    return copy
  }
  const first = SUSPEND_SIGNATURE.length
  await rejects(
    changed(0, [...Buffer.from(SUSPEND_SIGNATURE_LEGACY)]),
    'unknown-format',
    /XenServer before 6\.5\.1, .* convert-legacy-stream/,
  )
  await rejects(changed(first, [0xf2]), 'unknown-format', /convert-legacy-stream/)
  await rejects(changed(first, [0xf1]), 'bad-snapshot', /^Libxl record: a stream of libxl is not supported/)
  await rejects(changed(first + 12, [1]), 'bad-snapshot', /^Xenops record: the record is too long/)
  const one = Buffer.concat([file.subarray(first, first + 8), Buffer.alloc(8)])
  const many = Buffer.concat([file.subarray(0, first), ...Array.from({ length: 70_000 }, () => one)])
  await rejects(many, 'bad-snapshot', /^Xenops record: the records are too many: expected \d+/)
  await rejects(file.slice(0, -1), 'truncated', /suspend image header/)
  await rejects(Buffer.concat([file, Buffer.of(0)]), 'bad-snapshot', /^End_of_image record: the file has data after it/)
  await rejects(changed(first, [0xff, 0xff]), 'bad-snapshot', /data after it/)
  const empty = Buffer.concat([Buffer.from(SUSPEND_SIGNATURE), file.subarray(-16)])
  await rejects(empty, 'bad-snapshot', /^End_of_image record: the image has no guest/)
  const libxc = libxcOf(FILES.pv as Uint8Array)
  const again = suspendImage(libxc)
  const twice = Buffer.concat([again.subarray(0, -16), Buffer.of(0xf0), Buffer.alloc(15), again.subarray(-16)])
  await rejects(twice, 'bad-snapshot', /^Libxc record: the record is repeated/)
  await rejects(Buffer.concat([libxc, Buffer.of(0)]), 'bad-snapshot', /^END record: the file has data after it/)
})
