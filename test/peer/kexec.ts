/**
 * The peer for the 32-bit and the 64-bit entry: kexec(8) itself, which loads a kernel without a hypervisor, a BIOS or
 * root, because the call to the running kernel is answered by oracle/kexec-dry-run.c.
 *
 * Source: kexec(8); kexec_load(2).
 * Gotcha: it describes the host to the kernel. The library hides the host, so the result is the same on every host.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { BootParams, E820_TYPE, HDRS_MAGIC, SetupHeader } from '../../lib/abi/boot-params.js'
import type { MapEntry } from '../../lib/guest/memory-map.js'
import { findCommand } from './command.js'
import { peerSources } from './paths.js'
import type { Found } from './require-peer.js'

/** A kernel and its machine, as kexec(8) is asked to load it. */
export interface KexecSpec {
  /** The kind of kernel, and with it the entry: bzImage for 32-bit, bzImage64 for 64-bit. */
  readonly type: 'bzImage' | 'bzImage64' | 'elf-x86' | 'elf-x86_64'
  readonly kernel: Uint8Array
  readonly cmdline: string
  readonly ramdisk?: Uint8Array
  readonly map: readonly MapEntry[]
}

/** The memory that it would hand to the kernel. */
export interface KexecLoad {
  readonly bootParams: Uint8Array
  read(paddr: number, bytes: number): Uint8Array
}

interface Segment {
  readonly start: number
  readonly memsz: number
  readonly bytes: Uint8Array
}

const RESOURCE: Readonly<Record<number, string>> = {
  [E820_TYPE.RAM]: 'System RAM',
  [E820_TYPE.RESERVED]: 'Reserved',
  [E820_TYPE.ACPI]: 'ACPI Tables',
  [E820_TYPE.NVS]: 'ACPI Non-volatile Storage',
}

/** The same map as /proc/iomem has it: both ends are part of a range. */
const iomem = (map: readonly MapEntry[]): string =>
  map.map(({ start, end, type }) => `${start.toString(16)}-${(end - 1).toString(16)} : ${RESOURCE[type]}\n`).join('')

/** By the system call with segments, without a checksum of them. */
const LOAD = ['--kexec-syscall', '--no-checks', '--load']

function parseSegments(dump: Uint8Array): Segment[] {
  const view = new DataView(dump.buffer, dump.byteOffset, dump.length)
  const segments: Segment[] = []
  for (let at = 0; at < dump.length; ) {
    const [start = 0, memsz = 0, bufsz = 0] = [0, 8, 16].map((offset) => Number(view.getBigUint64(at + offset, true)))
    segments.push({ start, memsz, bytes: dump.subarray(at + 24, at + 24 + bufsz) })
    at += 24 + bufsz
  }
  return segments
}

/** Returns the page that begins one of the segments and has a setup header. */
function findBootParams(segments: readonly Segment[]): Uint8Array {
  const magic = BootParams.offsetOf('hdr') + SetupHeader.offsetOf('header')
  const pages = segments
    .map(({ bytes }) => bytes.subarray(0, BootParams.size))
    .filter((page) => page.length === BootParams.size)
    .filter((page) => new DataView(page.buffer, page.byteOffset).getUint32(magic, true) === HDRS_MAGIC)
  const [page] = pages
  if (page === undefined || pages.length > 1) throw new Error(`kexec made ${pages.length} boot_params`)
  return page
}

function readSegment(segments: readonly Segment[], paddr: number, bytes: number): Uint8Array {
  const segment = segments.find(({ start, memsz }) => start <= paddr && paddr + bytes <= start + memsz)
  if (segment === undefined) throw new Error(`kexec loads nothing at 0x${paddr.toString(16)}`)
  const out = new Uint8Array(bytes)
  out.set(segment.bytes.subarray(paddr - segment.start, paddr - segment.start + bytes))
  return out
}

/** Returns a function that loads a kernel by kexec(8). */
export async function findKexec(t: Test): Promise<Found<(spec: KexecSpec) => KexecLoad>> {
  const command = await findCommand('kexec', 'kexec-tools')
  if ('missing' in command) return command
  const folder = mkdtempSync(join(tmpdir(), 'kexec-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string) => join(folder, name)
  try {
    const source = join(peerSources, 'oracle', 'kexec-dry-run.c')
    execFileSync('cc', ['-shared', '-fPIC', '-o', file('dry-run.so'), source], { stdio: 'pipe' })
  } catch {
    return { missing: 'a C compiler, to run kexec without the running kernel' }
  }
  const env = {
    ...process.env,
    LD_PRELOAD: file('dry-run.so'),
    KEXEC_IOMEM: file('iomem'),
    KEXEC_LOADED: file('loaded'),
  }
  const found = ({ type, kernel, cmdline, ramdisk, map }: KexecSpec): KexecLoad => {
    writeFileSync(file('kernel'), kernel)
    writeFileSync(file('iomem'), iomem(map))
    rmSync(file('loaded'), { force: true })
    const options = [`--type=${type}`, `--append=${cmdline}`]
    if (type.startsWith('elf')) options.push('--args-linux')
    if (ramdisk !== undefined) {
      writeFileSync(file('ramdisk'), ramdisk)
      options.push(`--initrd=${file('ramdisk')}`)
    }
    const { status, stderr } = spawnSync('kexec', [...LOAD, file('kernel'), ...options], { encoding: 'utf8', env })
    if (status !== 0) throw new Error(`kexec: ${stderr}`)
    const segments = parseSegments(readFileSync(file('loaded')))
    return { bootParams: findBootParams(segments), read: (paddr, bytes) => readSegment(segments, paddr, bytes) }
  }
  return { found }
}
