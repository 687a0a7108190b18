/** Compares buildBzImage with the offsets in boot.rst, and with file(1). */
import { spawnSync } from 'node:child_process'
import { test } from 'tap'
import { SETUP_HEADER_OFFSET, SetupHeader } from '../../lib/abi/boot-params.js'
import { DomainBuilderError } from '../../lib/errors.js'
import { buildBzImage, patternBytes } from '../../lib/testing/index.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

test('fields lie where boot.rst says', async (t) => {
  const documented = {
    setup_sects: 0x1f1,
    syssize: 0x1f4,
    boot_flag: 0x1fe,
    jump: 0x200,
    header: 0x202,
    version: 0x206,
    kernel_version: 0x20e,
    type_of_loader: 0x210,
    loadflags: 0x211,
    code32_start: 0x214,
    ramdisk_image: 0x218,
    heap_end_ptr: 0x224,
    cmd_line_ptr: 0x228,
    initrd_addr_max: 0x22c,
    kernel_alignment: 0x230,
    relocatable_kernel: 0x234,
    xloadflags: 0x236,
    cmdline_size: 0x238,
    hardware_subarch_data: 0x240,
    payload_offset: 0x248,
    payload_length: 0x24c,
    setup_data: 0x250,
    pref_address: 0x258,
    init_size: 0x260,
    handover_offset: 0x264,
    kernel_info_offset: 0x268,
  }
  for (const [field, offset] of Object.entries(documented)) {
    t.equal(SETUP_HEADER_OFFSET + SetupHeader.offsetOf(field), offset, field)
  }
})

test('the payload is where payload_offset and payload_length say, its trailer counted', async (t) => {
  const payload = patternBytes(1000)
  const image = buildBzImage({ payload, sizeTrailer: 0x12345678, trailing: Uint8Array.of(0xee), setupSects: 0 })
  const header = SetupHeader.decode(image, SETUP_HEADER_OFFSET)
  const start = 5 * 512 + header.payload_offset
  t.equal(header.payload_length, 1004)
  t.same(image.subarray(start, start + 1000), payload)
  t.same([...image.subarray(start + 1000)], [0x78, 0x56, 0x34, 0x12, 0xee])
})

test('an older header ends before the fields that it does not have', async (t) => {
  const end = (protocol: number): number => 0x202 + (buildBzImage({ payload: new Uint8Array(4), protocol })[0x201] ?? 0)
  t.equal(end(0x20f), 0x26c)
  t.equal(end(0x20a), 0x264)
  t.equal(end(0x207), 0x248)
  t.equal(end(0x204), 0x230)
  t.throws(() => end(0x1ff), { code: 'bad-range' }, 'before 2.00 there is no header')
  const image = buildBzImage({ payload: new Uint8Array(4), protocol: 0x207 })
  t.same(image.subarray(0x248, 0x26c), new Uint8Array(0x26c - 0x248), 'no payload fields are left behind it')
})

test('fields of a test win, and a version text must fit', async (t) => {
  const image = buildBzImage({ payload: new Uint8Array(4), header: { payload_length: 0xffffffff } })
  t.equal(SetupHeader.decode(image, SETUP_HEADER_OFFSET).payload_length, 0xffffffff)
  t.throws(() => buildBzImage({ payload: new Uint8Array(4), version: 'x'.repeat(2000) }), {
    name: DomainBuilderError.name,
    code: 'bad-config',
  })
})

test('file(1) calls it a bzImage of that version', async (t) => {
  if (!(await requirePeer(t, () => findCommand('file', 'file')))) return
  const image = buildBzImage({ payload: new Uint8Array(64), version: '6.1.0-tiny (builder@nowhere)' })
  const said = spawnSync('file', ['-'], { input: image, encoding: 'utf8' }).stdout
  t.match(said, /Linux kernel x86 boot executable bzImage, version 6\.1\.0-tiny \(builder@nowhere\)/)
})
