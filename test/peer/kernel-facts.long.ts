/**
 * Compares the facts that we read in real kernels with those of independent tools, run in the same test.
 *
 * Source: readelf, file, Xen's readnotes, libxenguest's parser, and each format's own decompressor.
 * Gotcha: facts stored here would become wrong when Debian's archive changes, so the peers read the same file.
 */
import { execFile, execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { CODEC_NAMES, type CodecName } from '../../lib/codec/magic.js'
import { defined } from '../../lib/defined.js'
import { type ElfNote, type Kernel, readKernel } from '../../lib/index.js'
import { noteNumber, noteString } from '../../lib/kernel/notes.js'
import { splitPayload } from '../../lib/kernel/unwrap.js'
import { bootVerdicts } from '../../lib/kernel/verdict.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import { compress, PEERS } from '../kernel/codec-peers.js'
import { refuses } from '../kernel/refusal.js'
import { factDifferences, findAcceptance, ourFacts, peerVerdicts } from './acceptance.js'
import { findCommand } from './command.js'
import { findKernel, findTool, KERNEL_NAMES, type KernelName, kernelPath } from './kernels.js'
import { readelf } from './readelf.js'
import { requirePeer } from './require-peer.js'

const run = promisify(execFile)

const SEGMENT_TYPES: Readonly<Record<number, string>> = {
  1: 'LOAD',
  2: 'DYNAMIC',
  4: 'NOTE',
  6: 'PHDR',
  7: 'TLS',
  1685382480: 'GNU_EH_FRAME',
  1685382481: 'GNU_STACK',
  1685382482: 'GNU_RELRO',
  1685382483: 'GNU_PROPERTY',
}
const MACHINES: Readonly<Record<number, string>> = { 3: 'Intel 80386', 62: 'Advanced Micro Devices X86-64' }
const ELF_TYPES: Readonly<Record<number, string>> = { 2: 'EXEC', 3: 'DYN' }
const showFlags = (flags: number) => `${flags & 4 ? 'R' : ' '}${flags & 2 ? 'W' : ' '}${flags & 1 ? 'E' : ' '}`

/** Kernels, read once for all tests of this file. */
const kernels = new Map<KernelName, Promise<Kernel>>()
async function fetched(t: Test, name: KernelName): Promise<Kernel | undefined> {
  const path = await requirePeer(t, () => findKernel(name))
  if (path === undefined) return undefined
  const kernel = kernels.get(name) ?? readKernel(readFileSync(path))
  kernels.set(name, kernel)
  return kernel
}

/** Returns the format's own command, or undefined if the test is over. */
const withCommand = (t: Test, codec: CodecName) =>
  requirePeer(t, () => findCommand(PEERS[codec].command, PEERS[codec].from))

/** Writes the ELF into a file, as `extract` does. Returns the path. */
function elfFile(t: Test, kernel: Kernel): string {
  const file = join(t.testdir(), 'kernel.elf')
  if (kernel.elf !== undefined) writeFileSync(file, splitPayload(kernel.elf).elf)
  return file
}

t.test('readelf: headers, segments, notes', async (t) => {
  for (const name of KERNEL_NAMES) {
    await t.test(name, async (t) => {
      const kernel = await fetched(t, name)
      if (!kernel || !(await requirePeer(t, () => findCommand('readelf', 'binutils')))) return
      const { elf, notes } = kernel
      if (elf === undefined) return t.equal(kernel.container, 'bzImage', 'no ELF')
      const said = await readelf(elfFile(t, kernel))
      t.same(
        { class: elf.class, machine: MACHINES[elf.machine], type: ELF_TYPES[elf.type], entry: elf.entry },
        { class: said.class, machine: said.machine, type: said.type, entry: said.entry },
      )
      const segments = elf.segments.map(({ type, flags, ...rest }) => ({
        type: SEGMENT_TYPES[type],
        ...rest,
        flags: showFlags(flags),
      }))
      t.same(segments, said.segments)
      // readelf omits a note that claims too many bytes (GRUB's i386-xen), and may read sections in another order.
      const ours = notes
        .filter(({ missing }) => missing === undefined)
        .map(({ owner, type, desc }) => ({ owner, type, size: desc.length, bytes: Buffer.from(desc).toString('hex') }))
      t.equal(said.notes.length, ours.length, 'as many notes')
      for (const note of said.notes) {
        const same = (ours: { readonly [key: string]: unknown }) =>
          Object.entries(note).every(([key, value]) => ours[key] === value)
        t.ok(ours.some(same), `${note.owner} ${note.type ?? ''} ${note.bytes ?? ''}`)
      }
    })
  }
})

t.test("Xen's readnotes", async (t) => {
  for (const name of KERNEL_NAMES) {
    await t.test(name, async (t) => {
      const kernel = await fetched(t, name)
      const readnotes = kernel && (await requirePeer(t, () => findTool('readnotes')))
      if (!kernel || !readnotes) return
      if (kernel.elf === undefined) return t.equal(kernel.container, 'bzImage', 'no ELF')
      const { stdout } = await run(readnotes, [elfFile(t, kernel)])
      const lines = stdout.split('\n').filter(Boolean)
      const said = lines.filter((line) => !line.startsWith('__xen_guest: '))
      t.same(
        kernel.notes.flatMap(readnotesLine),
        said.map((line) => line.replace(/: +/, ': ')),
      )
      t.equal(
        kernel.xen?.source === '__xen_guest',
        lines.length > said.length,
        'whether there is a __xen_guest section',
      )
    })
  }
})

/** Returns a note as readnotes prints it, apart from alignment; readnotes does not know newer types. */
function readnotesLine(note: ElfNote): string[] {
  if (!note.isXen) return []
  switch (note.name) {
    case 'INFO':
    case 'GUEST_OS':
    case 'GUEST_VERSION':
    case 'XEN_VERSION':
    case 'LOADER':
    case 'PAE_MODE':
    case 'FEATURES':
      return [`${note.name}: ${noteString(note)}`]
    case 'ENTRY':
    case 'HYPERCALL_PAGE':
    case 'VIRT_BASE':
    case 'PADDR_OFFSET':
    case 'HV_START_LOW':
    case 'PHYS32_ENTRY':
    case 'SUSPEND_CANCEL': {
      const value = noteNumber(note)
      return [`${note.name}: ${value === 0n ? '0' : `0x${value.toString(16)}`} (${note.desc.length} bytes)`]
    }
    case 'L1_MFN_VALID': {
      const half = note.desc.length / 2
      const [mask, value] = [note.desc.subarray(0, half), note.desc.subarray(half)].map((bytes) =>
        noteNumber({ ...note, desc: bytes }),
      )
      return [`L1_MFN_VALID: mask=0x${mask?.toString(16)} value=0x${value?.toString(16)}`]
    }
    default:
      return [`unknown note type 0x${note.type.toString(16)}`]
  }
}

t.test('file(1)', async (t) => {
  for (const name of KERNEL_NAMES) {
    await t.test(name, async (t) => {
      const kernel = await fetched(t, name)
      if (!kernel || !(await requirePeer(t, () => findCommand('file', 'file')))) return
      const { stdout } = await run('file', ['-b', kernelPath(name)])
      if (kernel.container === 'bzImage') t.match(stdout, `bzImage, version ${kernel.linux?.version},`)
      else if (kernel.container === 'elf') {
        t.match(
          stdout,
          `ELF ${kernel.elf?.class}-bit LSB executable, ${kernel.elf?.machine === 3 ? 'Intel 80386' : 'x86-64'}`,
        )
      } else t.match(stdout, `${kernel.container} compressed data`)
    })
  }
})

t.test('libxenguest: accepted or refused as PV and as PVH, and what it reads', async (t) => {
  for (const name of KERNEL_NAMES) {
    await t.test(name, async (t) => {
      const kernel = await fetched(t, name)
      const program = kernel && (await requirePeer(t, findAcceptance))
      if (!kernel || !program) return
      const types = ['pv', 'pvh'] as const
      const peers = await peerVerdicts(
        program,
        types.map((type) => ({ type, file: kernelPath(name) })),
      )
      const verdicts = bootVerdicts(kernel)
      types.forEach((type, i) => {
        const [peer, ours] = [peers[i], verdicts.find((verdict) => verdict.type === type)]
        t.equal(ours?.ok, peer?.outcome === 'accepted', `${type}: ${ours?.ok ? 'ok' : ours?.reason}`)
        if (peer?.outcome === 'accepted' && ours?.ok) t.same(factDifferences(ourFacts(kernel, type), peer), [], type)
      })
    })
  }
})

t.test("each format's own decompressor: the ELF and the relocation table, byte for byte", async (t) => {
  for (const name of KERNEL_NAMES) {
    await t.test(name, async (t) => {
      const kernel = await fetched(t, name)
      if (!kernel) return
      const { codec, elf } = kernel
      if (codec === undefined || elf === undefined) return t.pass('not compressed')
      const command = await withCommand(t, codec)
      if (command === undefined) return
      const file = readFileSync(kernelPath(name))
      // By the fields' offsets in boot.rst, without our code.
      const start = kernel.linux ? ((file[0x1f1] || 4) + 1) * 512 + file.readUInt32LE(0x248) : 0
      const end = kernel.linux ? start + file.readUInt32LE(0x24c) : file.length
      const input = file.subarray(start, end - (kernel.linux && codec !== 'gzip' ? 4 : 0))
      const output = execFileSync(command, ['-dc'], { input, maxBuffer: 2 ** 30 })
      t.ok(Buffer.from(elf.bytes.buffer, elf.bytes.byteOffset, elf.bytes.length).equals(output))
      const { elf: image, relocs } = splitPayload(elf)
      t.equal(image.length + (relocs?.length ?? 0), output.length)
    })
  }
})

/** Compresses as Linux's build does, but faster; xz with its x86 filter, which every kernel uses. */
const quickly = (codec: CodecName, bytes: Uint8Array): Uint8Array =>
  compress(codec, bytes, codec === 'xz' ? ['--check=crc32', '--x86', '--lzma2=preset=0'] : PEERS[codec].args.at(-1))

t.test('one real kernel in all seven codecs is one and the same kernel', async (t) => {
  const kernel = await fetched(t, 'debian-686-pae')
  if (!kernel?.elf) return
  const { bytes } = kernel.elf
  const { linux: _, sha256: __, codec: ___, elf: ____, ...expected } = kernel
  for (const codec of CODEC_NAMES) {
    await t.test(codec, async (t) => {
      if (!(await withCommand(t, codec))) return
      const payload = quickly(codec, bytes)
      const file = buildBzImage({ payload, ...(codec === 'gzip' ? {} : { sizeTrailer: bytes.length }) })
      const { linux, sha256, codec: found, elf, ...rest } = await readKernel(file)
      t.equal(found, codec)
      t.ok(Buffer.compare(elf?.bytes ?? new Uint8Array(0), bytes) === 0, 'the same ELF and relocation table')
      t.same(
        { ...rest, segments: elf?.segments, entry: elf?.entry },
        { ...expected, segments: kernel.elf?.segments, entry: kernel.elf?.entry },
      )
      const whole = await readKernel(payload)
      t.same([whole.container, whole.codec], [codec, codec], 'and so is the payload as a file')
      t.same(whole.xen, kernel.xen)
    })
  }
})

t.test('a wrong size after the payload', async (t) => {
  const elf = buildElf({ class: 64, entry: 0, segments: [{ paddr: 0, data: patternBytes(20_000) }] })
  for (const codec of CODEC_NAMES.filter((name) => name !== 'gzip')) {
    await t.test(codec, async (t) => {
      if (!(await withCommand(t, codec))) return
      const payload = quickly(codec, elf)
      const read = async (sizeTrailer?: number) => {
        const image = buildBzImage({ payload, ...defined({ sizeTrailer }) })
        const kernel = await readKernel(image, { maxBytes: 2 ** 20 })
        if (kernel.fault !== undefined) throw kernel.fault
        return kernel
      }
      t.equal((await read(elf.length)).codec, codec)
      for (const size of [0, 1, elf.length - 1, elf.length + 1, 2 ** 20]) {
        await refuses(t, () => read(size), 'payload-size', codec, `${size}`)
      }
      for (const size of [2 ** 20 + 1, 2 ** 31, 2 ** 32 - 1]) {
        await refuses(t, () => read(size), 'payload-too-large', codec, `${size}`)
      }
      await t.rejects(read(), { name: 'DomainBuilderError', code: /^payload-/ }, 'no size')
    })
  }
})
