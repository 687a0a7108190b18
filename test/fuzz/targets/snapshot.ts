/**
 * Snapshots of one format: opened, read, described, and written again; the written file opens with the same memory.
 *
 * Source: lib/snapshot/formats.ts.
 * Gotcha: for a format with a sidecar, the input is the sidecar, a zero byte, the main file's size (u32), its pages.
 */
import { concat, isZero } from '../../../lib/bytes.js'
import { BLOCK_CODECS } from '../../../lib/codec/blocks.js'
import {
  type ByteSource,
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  type SnapshotFormatName,
  writeQemuStream,
  writeSnapshot,
  writeXl,
} from '../../../lib/index.js'
import { isLime } from '../../../lib/snapshot/memory-image.js'
import { QEMU_MACHINE_NAMES } from '../../../lib/snapshot/qemu-machine.js'
import { hvmSaveFile } from '../../fixtures/hvm-save.js'
import { kdumpFile } from '../../fixtures/kdump.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../../fixtures/kernels.js'
import { limeDump } from '../../fixtures/linux-image.js'
import { qemuCore } from '../../fixtures/qemu-core.js'
import { asSavedByQemu, bytesOf, mainOf, sidecarOf } from '../../fixtures/snapshots.js'
import { libxcOf, libxlOf, suspendImage } from '../../fixtures/suspend-image.js'
import type { Target } from '../target.js'
import { orRefuse, useGuest } from './use-guest.js'

const MiB = 2 ** 20
/** The limit of an image in bytes; reading a larger one takes long, even if it is empty. */
const IMAGE_MAX = 32 * MiB
const hasSidecar = (format: SnapshotFormatName): format is 'raw' | 'qemu' => format === 'raw' || format === 'qemu'

const pv = async (elfClass: 32 | 64): Promise<Domain> =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass, paddr: 0x1000, pages: 1 })), {
    type: 'pv',
    memory: 5 * MiB,
    purpose: 'restore',
  })

const pvh = async (purpose: 'restore' | 'vmm'): Promise<Domain> =>
  buildDomain(await readKernel(pvhKernelFile({ paddr: 0x100000 })), { type: 'pvh', memory: 2 * MiB, vcpus: 2, purpose })

const linux = async (): Promise<Domain> =>
  buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 24 * MiB, ramdisk: pattern(777) })

/** A sidecar and the file next to it as one input, with each page that is not zero after its number. */
function joinPair(sidecar: string, main: Uint8Array): Uint8Array {
  const pages = Array.from({ length: Math.ceil(main.length / PAGE_SIZE) }, (_, number) =>
    concat([u32(number), main.subarray(number * PAGE_SIZE, (number + 1) * PAGE_SIZE)]),
  )
  const held = pages.filter((page) => !isZero(page.subarray(U32_BYTES)))
  return concat([new TextEncoder().encode(`${sidecar}\0`), u32(main.length), ...held])
}

/** Returns the file of such an input. */
function mainOfPair(bytes: Uint8Array): ByteSource {
  const size = Math.min(u32At(bytes, 0), IMAGE_MAX)
  const pages = new Map<number, Uint8Array>()
  for (let at = U32_BYTES; at < bytes.length; at += U32_BYTES + PAGE_SIZE)
    pages.set(u32At(bytes, at), bytes.subarray(at + U32_BYTES, at + U32_BYTES + PAGE_SIZE))
  return {
    size,
    readInto(at, out) {
      out.fill(0)
      for (let done = 0; done < out.length; ) {
        const inPage = (at + done) % PAGE_SIZE
        const part = pages.get(Math.floor((at + done) / PAGE_SIZE))?.subarray(inPage, inPage + out.length - done)
        if (part) out.set(part, done)
        done += PAGE_SIZE - inPage
      }
    },
  }
}

const U32_BYTES = 4
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)
const u32At = (bytes: Uint8Array, at: number): number =>
  new DataView(concat([bytes.subarray(at, at + U32_BYTES), u32(0)]).buffer).getUint32(0, true)

async function seedsOf(format: SnapshotFormatName): Promise<readonly Uint8Array[]> {
  const bare = await linux()
  if (format === 'kdump') {
    const theirs = BLOCK_CODECS.map((codec) => kdumpFile({ codec, width: 32, flattened: codec === 'lzo' }))
    return [...theirs, kdumpFile(), ...[await pv(64), bare].map((guest) => bytesOf(mainOf(guest, format)))]
  }
  if (hasSidecar(format)) {
    const lime = limeDump(new Uint8Array(0x4000).fill(1), [
      [0, 0xfff],
      [0x2000, 0x3001],
    ])
    const guests = [await pvh('vmm'), bare, ...(format === 'raw' ? [await pv(64), await pv(32)] : [])]
    const pairs = guests.map((guest) => joinPair(sidecarOf(guest, format), bytesOf(mainOf(guest, format))))
    return format === 'raw' ? [...pairs, lime] : pairs
  }
  if (format === 'kexec') return [bytesOf(mainOf(bare, format))]
  if (format === 'qemu-stream') return streamsOf(await pvh('vmm'))
  if (format === 'libvirt') {
    const ours = bytesOf(mainOf(await pvh('vmm'), format))
    return [ours, asSavedByQemu(ours)]
  }
  const saved = await openSnapshot(bytesSource(hvmSaveFile()))
  const built = [await pv(64), await pv(32), await pvh('restore')]
  if (format === 'xl') {
    const old = built.map((guest) => bytesOf(writeXl(guest, { version: 2 })))
    const files = [...[...built, saved].map((guest) => bytesOf(writeXl(guest))), ...old, hvmSaveFile()]
    return [...files, libxlOf(hvmSaveFile()), suspendImage(libxcOf(hvmSaveFile()), new Uint8Array(64))]
  }
  const cores = [...built, format === 'elf-core' ? bare : saved].map((guest) => bytesOf(mainOf(guest, format)))
  return format === 'elf-core' ? [...cores, qemuCore({ paging: true }), qemuCore({ elfClass: 32 })] : cores
}

/** Our streams, and the same as QEMU saves them: without our member. */
function streamsOf(guest: Domain): Uint8Array[] {
  const streams = QEMU_MACHINE_NAMES.map((machine) => bytesOf(writeQemuStream(guest, { machine })))
  return [...streams, ...streams.map(asSavedByQemu)]
}

function open(format: SnapshotFormatName, bytes: Uint8Array): Promise<Domain> {
  const end = bytes.indexOf(0)
  if (!hasSidecar(format) || end < 0 || isLime(bytesSource(bytes))) return openSnapshot(bytesSource(bytes))
  return openSnapshot(mainOfPair(bytes.subarray(end + 1)), {
    beside: { '.json': bytesSource(bytes.subarray(0, end)) },
  })
}

export const snapshotTarget = (format: SnapshotFormatName): Target => ({
  name: format,
  executions: 2000,
  maxBytes: 2 * MiB,
  tokens: hasSidecar(format)
    ? ['"0x', '":', 'null', '[]', '{}', '1e9', '-1', '0.5', '18446744073709551615', '"vcpus":', '"regions":', '\\u0000']
    : [
        'Xen\0',
        '\x7fELF',
        '.note.Xen',
        '.xen_pages\0',
        'LibxlFmt',
        'XenSavedDomv2-\n',
        'KDUMP   ',
        'makedumpfile\0\0\0\0',
        'xen-domain-builder\0',
        'QEMU\0',
        Uint8Array.of(0x1f, 0x8b, 8, 0),
      ],
  seeds: () => seedsOf(format),
  async run(bytes) {
    const guest = await open(format, bytes)
    useGuest(guest, bytes)
    orRefuse(() => {
      for (const file of writeSnapshot(guest, format)) for (const _ of file.pieces());
    })
  },
})
