/**
 * The libvirt format without libvirt: the head, the XML, each compression of the stream, and refusals.
 *
 * Source: lib/abi/libvirt-save.ts; test/qemu/libvirt.qemu.ts restores and saves with a real libvirt.
 * Gotcha: QEMU's stream of a guest that ran has no description of our guest, so ours is cut out for such a file.
 */
import { spawnSync } from 'node:child_process'
import t, { type Test } from 'tap'
import { LIBVIRT_COMPRESSION, LibvirtHeader } from '../../lib/abi/libvirt-save.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  describeDomain,
  diffDomains,
  domainText,
  openSnapshot,
  readKernel,
  sniffSnapshot,
  writeLibvirt,
  writeQemuStream,
} from '../../lib/index.js'
import { nameInXml } from '../../lib/snapshot/libvirt-xml.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { asSavedByQemu, bytesOf, openMain, sameGuest } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const MiB = 2 ** 20
const NAME = `a "quiet" <winter>/'s & sun\u0007`
const guest = async (memory = 8 * MiB): Promise<Domain> =>
  buildDomain(await readKernel(pvhKernelFile({ paddr: 0x100000 })), {
    type: 'pvh',
    name: NAME,
    memory,
    vcpus: 2,
    cmdline: 'quiet',
    ramdisk: pattern(50_000),
    purpose: 'vmm',
  })
const field = (file: Uint8Array, name: 'version' | 'data_len' | 'compressed' | 'cookieOffset'): number =>
  LibvirtHeader.decode(file)[name]
const bodyAt = (file: Uint8Array): number => LibvirtHeader.size + field(file, 'data_len')
const xmlOf = (file: Uint8Array): string => {
  const xml = Buffer.from(file.subarray(LibvirtHeader.size, bodyAt(file)))
  return xml.subarray(0, xml.indexOf(0)).toString()
}

/** Returns the file with other numbers in its header. */
function changed(file: Uint8Array, fields: Readonly<Record<string, number>>): Buffer {
  const copy = Buffer.from(file)
  for (const [name, value] of Object.entries(fields)) copy.writeUInt32LE(value, LibvirtHeader.offsetOf(name))
  return copy
}

/** Returns the file as libvirt would have written it of a guest that ran. */
const ofRunning = (file: Uint8Array): Buffer => Buffer.from(asSavedByQemu(file))

t.test('a file goes back to the same guest', async (t) => {
  const domain = await guest()
  for (const machine of [undefined, 'pc', 'q35'] as const) {
    const file = bytesOf(writeLibvirt(domain, machine && { machine }))
    t.equal(await sniffSnapshot(bytesSource(file)), 'libvirt')
    const found = openMain(bytesSource(file))
    sameGuest(t, found, domain, `${machine}`)
    t.equal(found.name, NAME)
    const [kept, ...others] = found.saved?.records ?? []
    t.same([kept?.name, others], ['libvirt XML', []])
    t.equal(Buffer.from(kept?.body ?? []).toString(), xmlOf(file))
    t.same(diffDomains(domain, found).fields, [], 'the description is no difference')
    t.match(domainText(found).join('\n'), /<name>.*winter/, 'inspect shows it')
    t.same(bytesOf(writeLibvirt(found, machine && { machine })), file, 'and it is made again in the next file')
    t.same(file.subarray(bodyAt(file)), bytesOf(writeQemuStream(domain, { machine: machine ?? 'pc' })))
    t.match(LibvirtHeader.decode(file), { version: 2, was_running: 1, compressed: 0, cookieOffset: 0 })
    t.match(xmlOf(file), new RegExp(`machine='pc-${machine === 'q35' ? 'q35' : 'i440fx'}-7\\.2'`))
  }
  t.same(bytesOf(writeLibvirt(domain)), bytesOf(writeLibvirt(await guest())), 'the same bytes')
})

t.test('the XML is well-formed, and has the name with the characters that libvirt and XML take', async (t) => {
  const python = await requirePeer(t, () => findCommand('python3', 'python3'))
  if (python === undefined) return
  const file = bytesOf(writeLibvirt(await guest()))
  const code =
    'import sys, xml.etree.ElementTree as e; r = e.fromstring(sys.stdin.buffer.read()); print(r.find("name").text); print(r.find("memory").text, r.find("vcpu").text)'
  const { stdout, stderr } = spawnSync(python, ['-c', code], { input: xmlOf(file), encoding: 'utf8' })
  t.equal(stderr, '')
  t.equal(stdout, `a "quiet" <winter>_'s & sun_\n8192 2\n`)
})

t.test('a guest that ran has its name and the XML, which inspect shows', async (t) => {
  const found = openMain(bytesSource(ofRunning(bytesOf(writeLibvirt(await guest())))))
  t.match(found, { type: 'hvm', name: `a "quiet" <winter>_'s & sun_` })
  const text = domainText(found).join('\n')
  t.match(text, /\nlibvirt XML\n {2}<domain type='qemu' .*\n {4}<name>a &#34;quiet&#34; &#60;winter/)
  const { saved } = describeDomain(found) as { saved?: { records: { name: string; text?: string }[] } }
  t.match(saved?.records.at(-1), { name: 'libvirt XML', text: /^<domain / })
  const hostile = ofRunning(bytesOf(writeLibvirt(await guest())))
  hostile.write('\u001b]0;x\u0007', LibvirtHeader.size + 8, 'latin1')
  const shown = domainText(openMain(bytesSource(hostile))).join('\n')
  t.notOk(shown.includes('\u001b') || shown.includes('\u0007'), 'control characters are escaped')
})

/** The programs that libvirt runs. */
const PACKAGE = { gzip: 'gzip', bzip2: 'bzip2', xz: 'xz-utils', lzop: 'lzop', zstd: 'zstd' } as const

function compressedBy(program: string, file: Uint8Array): Uint8Array {
  const at = bodyAt(file)
  const { stdout } = spawnSync(program, ['-c'], { input: file.subarray(at), maxBuffer: 2 ** 28 })
  const compressed = LIBVIRT_COMPRESSION.indexOf(program as 'xz')
  return Buffer.concat([changed(file.subarray(0, at), { compressed }), stdout])
}

for (const [program, debian] of Object.entries(PACKAGE)) {
  t.test(`a stream under ${program}`, async (t: Test) => {
    if ((await requirePeer(t, () => findCommand(program, debian))) === undefined) return
    const domain = await guest()
    const file = compressedBy(program, bytesOf(writeLibvirt(domain)))
    t.equal(await sniffSnapshot(bytesSource(file)), 'libvirt')
    sameGuest(t, await openSnapshot(bytesSource(file)), domain, program)
    const damaged = Buffer.from(file)
    damaged.fill(0, bodyAt(file) + 100, bodyAt(file) + 200)
    await t.rejects(openSnapshot(bytesSource(damaged)), { code: /^payload-/ })
    t.throws(() => openMain(bytesSource(file)), { code: 'bad-snapshot', message: /^libvirt: QEMU's stream is missing/ })
  })
}

t.test('files of the first version have no compression', async (t) => {
  const file = changed(bytesOf(writeLibvirt(await guest())), { version: 1, compressed: 77 })
  t.equal((await openSnapshot(bytesSource(file))).vcpus.length, 2)
})

t.test('a cookie is no part of the XML', async (t) => {
  const file = ofRunning(bytesOf(writeLibvirt(await guest())))
  const end = xmlOf(file).length
  file.write('<cookie/>\0', LibvirtHeader.size + end, 'latin1')
  const found = openMain(bytesSource(changed(file, { cookieOffset: end })))
  t.notMatch(domainText(found).join('\n'), /cookie/)
})

t.test('what is refused', async (t) => {
  const file = bytesOf(writeLibvirt(await guest()))
  const refused = async (bytes: Uint8Array, message: RegExp, code = 'bad-snapshot') =>
    t.rejects(openSnapshot(bytesSource(bytes)), { code, message })
  const partial = Buffer.from(file)
  partial.write('LibvirtQemudPart', 'latin1')
  await refused(partial, /^libvirt: the file is incomplete: .* \(file offset 0x0\)/)
  await refused(changed(file, { version: 0x02000000 }), /^libvirt: the version is unknown: expected 1 or 2, /)
  await refused(changed(file, { compressed: 6 }), /^libvirt: the compression is unknown: expected raw, gzip, /)
  await refused(changed(file, { data_len: 0 }), /^libvirt: the length of the XML is invalid: /)
  await refused(changed(file, { data_len: 0xffffffff }), /^libvirt: the length of the XML is invalid: /)
  await refused(changed(file, { data_len: 16 << 20 }), /^libvirt's XML: the file ends too early: /, 'truncated')
  await refused(changed(file, { cookieOffset: 0x7fffffff }), /^libvirt: the cookie lies outside: /)
  await refused(file.subarray(0, 80), /^libvirt's header: the file ends too early: /, 'truncated')
  await refused(file.subarray(0, bodyAt(file) + 4), /^libvirt: QEMU's stream is missing/)
  const cannot = (make: () => unknown, code: string, message: RegExp) => t.throws(make, { code, message })
  const domain = await guest()
  cannot(() => writeLibvirt(domain, { machine: 'microvm' as 'pc' }), 'bad-config', /^the machine is not one of libvirt/)
  const odd = await guest(8 * MiB + 8192)
  cannot(() => writeLibvirt(odd), 'does-not-fit', /^libvirt gives a guest whole MiB of memory/)
  const pv = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * MiB })
  cannot(() => writeLibvirt(pv), 'does-not-fit', /^the guest needs Xen/)
})

t.test('a name in XML', (t) => {
  const nameOf = (text: string) => nameInXml(`<domain><name>${text}</name></domain>`)
  t.equal(nameOf('a&#38;b &lt;&gt; &quot;&apos;&amp;'), `a&b <> "'&`)
  t.equal(nameOf('&nope; &#9999999; &;'), '&nope; &#9999999; &;', 'what is no character stays')
  t.equal(nameInXml('<domain/>'), '')
  t.end()
})

t.test('a guest without a name is called guest', async (t) => {
  t.match(xmlOf(bytesOf(writeLibvirt({ ...(await guest()), name: '' }))), /<name>guest<\/name>/)
})
