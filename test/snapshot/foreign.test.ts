/**
 * Guests in files of other programs: each is named by every command, with a file to give instead.
 *
 * Source: lib/snapshot/foreign.ts, lib/abi/magics.ts.
 * Gotcha: none of these files is called "not a kernel".
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { DELTA_MAGIC } from '../../lib/abi/delta.js'
import { EM_386, EM_X86_64, ET_CORE } from '../../lib/abi/elf.js'
import { GUEST_FILES } from '../../lib/abi/magics.js'
import { XL_MAGIC } from '../../lib/abi/save-stream.js'
import { concat } from '../../lib/bytes.js'
import { buildDomain, bytesSource, openSnapshot, readKernel, writeXl } from '../../lib/index.js'
import { elfHeader, encodeNote, noteHeader } from '../../lib/snapshot/elf-file.js'
import { refuseForeignSource } from '../../lib/snapshot/open.js'
import { runCommand } from '../cli/command.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'

const built = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20 })
const xl = Buffer.from(bytesOf(writeXl(built)))
/** The libxl stream in a save file, and the libxc stream in that. */
const libxl = xl.subarray(xl.indexOf('LibxlFmt'))
const libxc = libxl.subarray(libxl.indexOf('XENF') - 8)
const MANDATORY_FLAGS = XL_MAGIC.length + 4

/** A 64-bit little-endian core with one note. */
function core(owner: string, type: number): Uint8Array {
  const note = encodeNote({ owner, type, desc: new Uint8Array(336) })
  const header = elfHeader(EM_X86_64, { e_phoff: 64n, e_phentsize: 56, e_phnum: 1 })
  return concat([header, noteHeader(64 + 56, note.length), note])
}

function legacy(flags: number): Buffer {
  const file = Buffer.from(xl.subarray(0, 256))
  file.writeUInt32LE(flags, MANDATORY_FLAGS)
  return file
}

/** The header of a core of a big-endian machine. */
function otherCore(elfClass: 1 | 2): Uint8Array {
  const file = Buffer.from(elfHeader(EM_386, {}))
  file.set([elfClass, 2], 4)
  file.writeUInt16BE(ET_CORE, 16)
  return file
}

const text = (start: string): Buffer => Buffer.concat([Buffer.from(start, 'latin1'), libxc.subarray(0, 4096)])
const LEGACY = /a legacy save file of xl, .* expected the output of Xen's convert-legacy-stream --xl --format libxl /
const FILES: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
  'xenserver.suspend': [
    text('XenSavedDomain\n'),
    /a suspended VM of XenServer before 6\.5\.1, .* convert-legacy-stream/,
  ],
  'vm.xva': [text('ova.xml\0'), /an XVA export of XCP-ng or XenServer, /],
  'libvirt.save': [
    text('libvirt-xml\n \0 \r'),
    /libvirt saved \(virsh save of its libxl driver\), .* virsh dump \(file offset 0x0\)/,
  ],
  'qemu-save': [text('QEVM\0\0\0\x02'), /a migration stream of QEMU whose version is unknown/],
  xend: [text('LinuxGuestRecord'), /a guest that xend saved \(xm save\)/],
  'xm.core': [Buffer.from([0xed, 0xeb, 0x0f, 0xf0, 1, 0, 0, 0]), /a core of xm dump-core before Xen 3\.1/],
  'legacy.xl': [legacy(0), LEGACY],
  'legacy-json.xl': [legacy(1), LEGACY],
  'virtualbox.core': [core('VBCORE', 0xb00), /a core of VirtualBox/],
  'host.core': [core('Xen', 0x1000001), /a crash dump of a Xen host/],
  vmcore: [core('VMCOREINFO', 0), /a crash dump of a Linux kernel/],
  'process.core': [core('CORE', 3), /a core of a process/],
  'sparc.core': [otherCore(2), /an ELF core of a big-endian machine/],
  'ppc.core': [otherCore(1), /an ELF core of a big-endian machine/],
  'vm.xva.gz': [gzipSync(text('ova.xml\0')), /an XVA export of XCP-ng or XenServer, /],
}

t.test('every command names them', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-foreign-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const xdb = (...args: string[]) => runCommand(args, { cwd: folder })
  for (const [name, [bytes, said]] of Object.entries(FILES)) {
    writeFileSync(join(folder, name), bytes)
    for (const command of ['check', 'map', 'inspect']) {
      const { code, err } = xdb(command, name)
      t.equal(code, 2, `${command} ${name}`)
      t.match(err, /^xen-domain-builder: unknown-format: the file is .*, which is not supported: expected .*\n$/)
      t.match(err, said)
    }
  }
  for (const name of ['libvirt.save', 'legacy.xl', 'vmcore']) {
    const said = FILES[name]?.[1] ?? /^$/
    t.match(xdb('convert', name, '-o', 'x.img'), { code: 2, err: said })
    t.match(xdb('read', name, '0', '16'), { code: 2, err: said })
    t.match(xdb('diff', name, name), { code: 2, err: said })
  }
  // A snapshot in a kernel's place is called a snapshot.
  t.match(xdb('build', 'libvirt.save', '-o', 'x.img'), { code: 2, err: FILES['libvirt.save']?.[1] })
  for (const name of ['legacy.xl', 'vmcore']) {
    t.match(xdb('build', name, '-o', 'x.img'), {
      code: 1,
      err: `xen-domain-builder: not-a-kernel: ${name} is a snapshot: expected a kernel, found `,
    })
  }
  t.end()
})

t.test('in the library', async (t) => {
  for (const [name, [bytes, message]] of Object.entries(FILES)) {
    await t.rejects(openSnapshot(bytesSource(bytes)), { code: 'unknown-format', message }, name)
    if (['vm.xva', 'vm.xva.gz', 'xend', 'sparc.core'].includes(name))
      await t.rejects(refuseForeignSource(bytesSource(bytes)), { code: 'unknown-format' }, name)
  }
  await t.rejects(openSnapshot(bytesSource(core('Other', 1))), {
    code: 'unknown-format',
    message: /^the core has no description of the guest: expected a note of xen-domain-builder, found Other /,
  })
  await refuseForeignSource(bytesSource(xl))
  await refuseForeignSource(bytesSource(gzipSync(xl).fill(0xff, 20)))
  await t.rejects(openSnapshot(bytesSource(Buffer.from(DELTA_MAGIC.padEnd(200)))), {
    code: 'unknown-format',
    message: /^the file is a delta, which needs its base: expected BASE\+DELTA, or convert BASE --apply DELTA/,
  })
  for (const { what, offset, bytes } of GUEST_FILES) {
    const file = Buffer.alloc(4096)
    file.set(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, offset)
    await t.rejects(openSnapshot(bytesSource(file)), { code: 'unknown-format', message: `the file is ${what}, ` })
    await t.rejects(readKernel(file), { code: 'not-a-kernel', found: what })
  }
})

t.test('the output of convert-legacy-stream, which says what it is made from, is read', async (t) => {
  const file = Buffer.from(xl)
  file.writeUInt32BE(2, file.indexOf('LibxlFmt') + 12)
  t.same((await openSnapshot(bytesSource(file))).vcpus, built.vcpus)
  file.writeUInt32BE(1, file.indexOf('LibxlFmt') + 12)
  await t.rejects(openSnapshot(bytesSource(file)), { code: 'bad-snapshot', message: /the stream is big-endian/ })
})
