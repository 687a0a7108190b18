/**
 * Compares our boot_params with those of QEMU's Linux loader and Debian's setup code, for the same kernel. The kernel
 * has Debian's setup sectors before our protected-mode kernel, which reports its boot state.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BootParams, E820_TYPE, SETUP_HEADER_OFFSET, SetupHeader } from '../../lib/abi/boot-params.js'
import { buildDomain, readKernel } from '../../lib/index.js'
import { patternBytes } from '../../lib/testing/index.js'
import { parseReport, stateCode } from '../fixtures/state-kernel.js'
import { type NamedFields, noStaleNames, sameBootParams } from '../peer/boot-params.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, runInQemu, runQemu, withDirectory } from './harness.js'

const MiB = 2 ** 20
const MEMORY = 128 * MiB
const CMDLINE = 'console=ttyS0 loader=compared'
/** The address at which QEMU loads every bzImage. */
const ADDRESS = 0x100000

/** Every field in which the two differ, and the reason. */
const NAMED: NamedFields = {
  'hdr.type_of_loader': 'who loaded it: QEMU has a registered number, we use 0xff',
  'hdr.ramdisk_image': 'as high as there is memory in both; SeaBIOS keeps the highest 128 KiB for its ACPI tables',
  'hdr.cmd_line_ptr': 'where the command line lies: QEMU always uses 0x20000, we use the page after boot_params',
  'hdr.heap_end_ptr': 'how much setup code may use: QEMU gives it all up to its command line, we 0xe000 bytes',
  e820_entries: "the firmware's memory map against ours",
  e820_table: 'SeaBIOS reserves itself, its tables and an EBDA; we have no firmware, and a map of RAM alone',
  alt_mem_k: 'memory above 1 MiB; SeaBIOS omits the highest 128 KiB, its ACPI tables',
  'screen_info.orig_y': 'the line that the cursor is in, after what SeaBIOS wrote to the screen',
  'screen_info.orig_video_ega_bx': 'the size of the video memory; kernels only look whether it is 0x10, no EGA',
  'ist_info.signature': 'the registers of a BIOS call about SpeedStep that no BIOS here answered',
  'ist_info.perf_level': 'the same',
  edid_info: 'the monitor that QEMU invents; we know of none',
}

/** Returns Debian's boot sector and setup code, then our kernel; the header names no payload. */
async function dumpingImage(file: string): Promise<Uint8Array> {
  const { linux } = await readKernel(readFileSync(file))
  if (!linux) throw new Error(`${file} is no bzImage`)
  const setup = linux.bytes.slice(0, linux.setupBytes)
  const view = new DataView(setup.buffer)
  for (const field of ['payload_offset', 'payload_length'] as const) {
    view.setUint32(SETUP_HEADER_OFFSET + SetupHeader.offsetOf(field), 0, true)
  }
  const code = stateCode({ bits: 32, address: ADDRESS, ring0: true })
  return Buffer.concat([setup, code])
}

/** Returns the ranges of RAM in the memory map that a kernel reports. */
function usable(output: string): (readonly [bigint, bigint])[] {
  const { e820_table, e820_entries } = BootParams.decode(parseReport(output, 32).bootParams)
  return e820_table
    .slice(0, e820_entries)
    .filter(({ type }) => type === E820_TYPE.RAM)
    .map(({ addr, size }) => [addr, addr + size] as const)
}

t.test("QEMU's loader and our loader hand a kernel the same boot_params", async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const file = await requirePeer(t, () => findKernel('debian-amd64'))
  if (file === undefined) return
  const image = await dumpingImage(file)
  const ramdisk = patternBytes(5000)
  const theirs = await withDirectory(async (directory) => {
    writeFileSync(join(directory, 'kernel'), image)
    writeFileSync(join(directory, 'ramdisk'), ramdisk)
    return runQemu([
      ...['-machine', 'pc', '-accel', 'tcg', '-m', `${MEMORY / MiB}M`, '-nodefaults', '-no-reboot', '-display', 'none'],
      ...['-vga', 'std'],
      ...['-monitor', 'none', '-serial', 'stdio', '-kernel', join(directory, 'kernel')],
      ...['-initrd', join(directory, 'ramdisk'), '-append', CMDLINE],
    ])
  })
  const domain = buildDomain(await readKernel(image), {
    type: 'linux',
    entry: 32,
    memory: MEMORY,
    cmdline: CMDLINE,
    ramdisk,
    loadAddress: ADDRESS,
  })
  const ours = await runInQemu(domain)
  const page = (output: string) => parseReport(output, 32).bootParams
  noStaleNames(t, NAMED, sameBootParams(t, page(ours), page(theirs), NAMED))
  t.ok(
    usable(theirs).every(([start, end]) => usable(ours).some(([from, to]) => from <= start && end <= to)),
    "all RAM of QEMU's guest is RAM of our guest",
  )
})
