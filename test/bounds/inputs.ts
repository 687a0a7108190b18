/**
 * Hostile inputs of adjustable size: for each kind, the files at a scale of 1, 2, 4, and the commands that read them.
 *
 * Source: our own; each kind makes one table, list or loop as large as a small file can.
 * Gotcha: an image is sparse, so its length says little. The size of an input is the data that the file holds.
 */
import { gzipSync } from 'node:zlib'
import { DELTA_KIND, DeltaHeader, DeltaRun } from '../../lib/abi/delta.js'
import { Ehdr64, EM_X86_64, ET_CORE, ET_EXEC, Phdr64 } from '../../lib/abi/elf.js'
import { concat } from '../../lib/bytes.js'
import {
  buildDomain,
  type Domain,
  type DomainConfig,
  PAGE_SIZE,
  readKernel,
  writeDelta,
  writeElfCore,
  writeQemuStream,
  writeSnapshot,
  writeXl,
} from '../../lib/index.js'
import { sha256 } from '../../lib/sha256.js'
import { elfHeader, loadHeader, noteHeader } from '../../lib/snapshot/elf-file.js'
import { buildElf, type ElfSpec, xenNotes } from '../../lib/testing/index.js'
import { kdumpFile } from '../fixtures/kdump.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { limeDump } from '../fixtures/linux-image.js'
import { qemuCore } from '../fixtures/qemu-core.js'
import { asSavedByQemu, bytesOf } from '../fixtures/snapshots.js'
import { KALLSYMS_LAYOUTS, type KallsymsLayout, madeKallsyms } from '../symbols/made-kallsyms.js'

const MiB = 2 ** 20

/** A file: its bytes, and its size if it ends in a hole. */
export interface InputFile {
  readonly bytes: Uint8Array
  readonly size?: number
}

export interface Input {
  /** The files, by name. */
  readonly files: Readonly<Record<string, InputFile>>
  /** Command lines that name the files. */
  readonly commands: readonly (readonly string[])[]
}

export interface Kind {
  readonly name: string
  /** Every command refuses it. */
  readonly refused?: true
  /** The seconds for input that is larger than a megabyte, because of its holes. Default those of a small file. */
  readonly seconds?: number
  /** Makes the input; at a scale of 4, no file holds more than a megabyte. */
  make(scale: number): Input | Promise<Input>
}

type Json = Record<string, unknown>

const text = (value: string): InputFile => ({ bytes: new Uint8Array(Buffer.from(value)) })
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i))
const repeated = (bytes: Uint8Array, count: number): Uint8Array =>
  new Uint8Array(Buffer.alloc(bytes.length * count, bytes))

const KERNELS = { pv: () => pvKernelFile(), pvh: () => pvhKernelFile(), linux: () => linuxKernelFile() }

/** Bytes: enough for a Linux kernel at 16 MiB. */
const MEMORY = 32 * MiB

const ZERO_PAGE = new Uint8Array(PAGE_SIZE)

async function guest(type: 'pv' | 'pvh' | 'linux', memory = MEMORY): Promise<Domain> {
  const config: DomainConfig = type === 'linux' ? { type, memory } : { type, memory, purpose: 'restore' }
  return buildDomain(await readKernel(KERNELS[type]()), config)
}

const READERS = ['inspect', 'check', 'map', 'validate'] as const
/** Every command that reads a snapshot, and those that write it again. */
const all = (name: string): string[][] => [
  ...READERS.map((command) => [command, name]),
  ['inspect', name, '--json'],
  ['map', name, '--json'],
  ['convert', name, '-o', 'out.core'],
  ['convert', name, '-o', 'out.img'],
  ['convert', name, '-o', 'out.xl'],
  ['convert', name, '--format', 'qemu', '-o', 'out'],
  ['read', name, '0x100000', '16', '--json'],
  ['search', name, '(a+)+[0-9]', '--regex', '--virtual', '--count'],
  ['diff', name, name],
]
const ofKernel = (name: string): string[][] => [
  ['check', name],
  ['inspect', name],
  ['inspect', name, '--json'],
  ['diff', name, name],
  ['build', name, '-o', 'out.img', '--memory', '64'],
]

/** A raw snapshot with a changed sidecar. The image has the size that the sidecar claims. */
async function raw(
  type: 'pv' | 'pvh' | 'linux',
  change: (json: Json, memory: Json) => Json,
  image: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
): Promise<Input> {
  const [main, sidecar] = writeSnapshot(await guest(type), 'raw', { name: 'g.img' })
  if (main === undefined || sidecar === undefined) throw new Error('a raw snapshot is two files')
  const json = JSON.parse(Buffer.from(bytesOf(sidecar)).toString()) as Json & { memory: Json }
  const changed = change(json, json.memory) as { memory: { pages: number; ranges?: Pair[] } }
  const size = (changed.memory.ranges?.at(-1)?.[1] ?? changed.memory.pages) * PAGE_SIZE
  // A PVH guest's special pages end just below 4 GiB; their content does not matter here.
  const bytes = image(bytesOf(main).subarray(0, MEMORY))
  return {
    files: {
      'g.img': { bytes: trimmed(bytes), size },
      'g.img.json': text(JSON.stringify(changed)),
    },
    commands: all('g.img'),
  }
}

/** A stream as QEMU saves one: with another size of its RAM, more pages, or another description. */
async function qemuStream(change: {
  readonly ram?: number
  readonly pages?: readonly number[]
  readonly describe?: (json: Json & { devices: Json[] }) => unknown
}): Promise<Input> {
  const { ram, pages = [], describe = (json) => json } = change
  const domain = buildDomain(await readKernel(pvhKernelFile({ paddr: 0x100000 })), {
    type: 'pvh',
    memory: 2 * MiB,
    purpose: 'vmm',
  })
  const bytes = Buffer.from(asSavedByQemu(bytesOf(writeQemuStream(domain))))
  const name = Buffer.from('\x0bmicrovm.ram', 'latin1')
  const sizes = bytes.indexOf(name)
  if (ram !== undefined) {
    bytes.writeBigUInt64BE(BigInt(ram + 0x10000 + 4), sizes - 8)
    bytes.writeBigUInt64BE(BigInt(ram), sizes + name.length)
  }
  const end = bytes.indexOf(Buffer.from(`${'0'.repeat(14)}107e000000020300000002`, 'hex'))
  const more = Buffer.alloc(9 * pages.length)
  // Zero pages of the block of the first one.
  for (const [i, pfn] of pages.entries()) {
    more.writeBigUInt64BE(BigInt(pfn * PAGE_SIZE + (i === 0 ? 0x02 : 0x22)), 9 * i)
  }
  const [head, tail] = [more.subarray(0, 8), more.subarray(8)]
  const start = bytes.lastIndexOf('{"page_size"')
  const json = Buffer.from(JSON.stringify(describe(JSON.parse(bytes.subarray(start).toString()))))
  bytes.writeUInt32BE(json.length, start - 4)
  const given = pages.length === 0 ? [] : [head, name, tail]
  const file = concat([bytes.subarray(0, end), ...given, bytes.subarray(end, start), json])
  return { files: { 'g.mig': { bytes: file } }, commands: all('g.mig') }
}

type Pair = [number, number]

/** Memory of these ranges (first pfn, end), with data in these runs (first pfn, length). */
function memoryOf(memory: Json, ranges: readonly Pair[], data: readonly Pair[]): Json {
  const pages = ranges.reduce((sum, [start, end]) => sum + end - start, 0)
  return { ...memory, ranges, data, pages, bytes: pages * PAGE_SIZE }
}

/** The same memory with `pages` more pages at its end. */
function claimed(memory: Json, pages: number): Json {
  const ranges = (memory.ranges as Pair[] | undefined) ?? [[0, memory.pages as number]]
  const end = ranges.at(-1)?.[1] ?? 0
  return memoryOf(memory, [...ranges, [end + 1, end + 1 + pages]], memory.data as Pair[])
}

/** Returns the bytes without trailing zeros. */
function trimmed(bytes: Uint8Array): Uint8Array {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return bytes.subarray(0, end)
}

const noteBytes = (owner: string, desc: Uint8Array): Uint8Array => {
  const head = new DataView(new ArrayBuffer(12))
  head.setUint32(0, owner.length + 1, true)
  head.setUint32(4, desc.length, true)
  const pad = (bytes: Uint8Array) => concat([bytes, new Uint8Array(-bytes.length & 3)])
  return concat([new Uint8Array(head.buffer), pad(new Uint8Array(Buffer.from(`${owner}\0`))), pad(desc)])
}

/** A core of program headers alone, and the content to which all of them point. */
function coreOf(headers: (at: number) => Uint8Array[], count: number, content: Uint8Array): Uint8Array {
  const at = Ehdr64.size + count * Phdr64.size
  const ehdr = elfHeader(EM_X86_64, {
    e_type: ET_CORE,
    e_phoff: BigInt(Ehdr64.size),
    e_phentsize: Phdr64.size,
    e_phnum: count,
  })
  return concat([ehdr, ...headers(at), content])
}

/** A kernel of one page, to which all segments point, and a Xen note. */
function kernelOf(segments: readonly { readonly paddr: number; readonly memsz: number }[]): Uint8Array {
  const count = segments.length + 1
  const at = Ehdr64.size + count * Phdr64.size
  const note = noteBytes('Xen', new Uint8Array(Buffer.from('00001000', 'hex')))
  new DataView(note.buffer).setUint32(8, 18, true)
  const ehdr = elfHeader(EM_X86_64, {
    e_type: ET_EXEC,
    e_entry: 0x100000n,
    e_phoff: BigInt(Ehdr64.size),
    e_phentsize: Phdr64.size,
    e_phnum: count,
  })
  const loads = segments.map(({ paddr, memsz }) => loadHeader({ offset: at + note.length, filesz: 16, paddr, memsz }))
  return concat([ehdr, noteHeader(at, note.length), ...loads, note, new Uint8Array(PAGE_SIZE).fill(0xf4)])
}

const built = (more: Partial<ElfSpec>): Uint8Array =>
  buildElf({
    class: 64,
    entry: 0x100000,
    notes: xenNotes({ PHYS32_ENTRY: [0x100000] }),
    segments: [{ paddr: 0x100000, data: new Uint8Array(16).fill(0xf4) }],
    ...more,
  })

const kernel = (bytes: Uint8Array): Input => ({ files: { k: { bytes } }, commands: ofKernel('k') })

const config = (content: string): Input => ({
  files: { 'g.cfg': text(content), kernel: { bytes: pvKernelFile() } },
  commands: [['build', 'kernel', '--config', 'g.cfg', '-o', 'out.img', '--memory', '8']],
})

/** Arrays of structs in one another, each of that many elements. */
const nestedArrays = (count: number, depth = 6): Json[] => [
  depth === 0
    ? { name: 'x', array_len: count, type: 'uint8', size: 1 }
    : { name: 'x', array_len: count, type: 'struct', struct: { fields: nestedArrays(count, depth - 1) }, size: 1 },
]

/** A guest, and a file of symbols for it. */
async function withSymbols(bytes: Uint8Array): Promise<Input> {
  const { files } = await raw('linux', (json) => json)
  return {
    files: { ...files, symbols: { bytes } },
    commands: [['map', 'g.img', '--at', '0x100000', '--symbols', 'symbols']],
  }
}

const DIGITS = new Uint8Array(Buffer.from(Array.from('0123456789', (digit) => `${digit}\0`).join('')))

/** A kernel whose names are as long as they may be, each of a few bytes. */
function expandingKernel(count: number): Uint8Array {
  const layout = KALLSYMS_LAYOUTS['6.15'] as KallsymsLayout
  const start = 0xffffffff81000000n
  const symbols = times(count, (i) => ({ name: '_'.repeat(256), type: 'T', address: start + BigInt(i) }))
  return built({ segments: [{ paddr: 0x1000000, vaddr: start, data: madeKallsyms(symbols, start, layout) }] })
}

/** For each codec, an empty stream and one of one byte. */
const SMALL_STREAMS: Readonly<Record<string, string>> = {
  'gzip, empty': '1f8b080000000000000303000000000000000000',
  'bzip2, empty': '425a683917724538509000000000',
  'zstd, empty': '28b52ffd2400010000 99e9d851'.replace(' ', ''),
  'xz, empty': 'fd377a585a000004e6d6b446000000001cdf44211fb6f37d010000000004595a',
  'lz4, empty': '02214c18',
}

/** A base, and a delta whose runs are these, from the end of the base's content on. */
async function deltaOf(runsFrom: (pfn: number) => { pfn: number; pages: number; kind: number }[]): Promise<Input> {
  const base = await guest('linux', 256 * MiB)
  const bytes = bytesOf((await writeDelta(base, base)).file)
  const header = DeltaHeader.decode(bytes)
  const last = [...base.memory.pages()].at(-1)
  const runs = runsFrom((last?.pfn ?? 0) + (last?.pages ?? 0)).map((run) =>
    DeltaRun.encode({ ...run, pfn: BigInt(run.pfn) }),
  )
  const end = DeltaHeader.size + header.state_bytes + Number(header.runs) * DeltaRun.size
  const body = concat([bytes.subarray(DeltaHeader.size, end), ...runs])
  const start = DeltaHeader.encode({ ...header, runs: header.runs + BigInt(runs.length) }).subarray(0, -32)
  const delta = concat([start, sha256(start, body), body])
  const [image, sidecar] = writeSnapshot(base, 'raw', { name: 'g.img' })
  const files = {
    'g.img': { bytes: trimmed(bytesOf(image ?? []).subarray(0, MEMORY)), size: 256 * MiB },
    'g.img.json': { bytes: bytesOf(sidecar ?? []) },
    'd.delta': { bytes: delta },
  }
  return { files, commands: [...all('g.img+d.delta'), ['stats', 'g.img+d.delta']] }
}

export const KINDS: readonly Kind[] = [
  {
    name: 'zero pages of a QEMU stream, from the last to the first',
    make: (n) => qemuStream({ ram: 2 ** 30, pages: times(25_000 * n, (i) => 2 * (25_000 * n - i)) }),
  },
  {
    name: 'memory that a QEMU stream claims',
    make: (n) => qemuStream({ ram: 2 ** 40 * n }),
  },
  {
    name: 'arrays that the description of a QEMU stream claims',
    refused: true,
    make: (n) =>
      qemuStream({
        describe: (json) => ({
          ...json,
          devices: json.devices.map((device) => ({ ...device, fields: nestedArrays(1000 * n) })),
        }),
      }),
  },
  {
    name: 'fields without bytes in a QEMU stream',
    refused: true,
    make: (n) =>
      qemuStream({
        describe: (json) => ({
          ...json,
          devices: json.devices.map((device) =>
            device.name === 'cpu'
              ? { ...device, fields: times(5000 * n, (i) => ({ name: `f${i}`, type: 'buffer', size: 0 })) }
              : device,
          ),
        }),
      }),
  },
  {
    name: 'nested JSON',
    make: (n) => raw('linux', (json) => ({ ...json, x: 0 })).then((input) => deepen(input, 100_000 * n)),
  },
  {
    name: 'regions',
    make: (n) =>
      raw('linux', (json) => ({ ...json, regions: times(6000 * n, (i) => ({ name: '', pfn: i % 128, pages: 1 })) })),
  },
  {
    name: 'runs of pages',
    // An image of 938 MiB, in which each fourth page is listed as content: 234 MiB to read and to write.
    seconds: 2,
    make: (n) =>
      raw('linux', (json, memory) => ({
        ...json,
        memory: memoryOf(
          memory,
          [[0, 60_000 * n]],
          times(15_000 * n, (i) => [4 * i, 1]),
        ),
      })),
  },
  {
    name: 'ranges of memory',
    make: (n) =>
      raw('linux', (json, memory) => {
        const ranges = times(8000 * n, (i): Pair => [2 * i, 2 * i + 1])
        return { ...json, memory: memoryOf(memory, ranges, []) }
      }),
  },
  {
    name: 'pages of zeros that a delta claims',
    make: (n) => deltaOf((pfn) => [{ pfn, pages: 2 ** 12 * n, kind: DELTA_KIND.ZERO }]),
    refused: true,
  },
  {
    name: 'vcpus',
    make: (n) =>
      raw('linux', (json) => {
        const [vcpu] = json.vcpus as Json[]
        return { ...json, vcpus: times(50 * n, () => vcpu) }
      }),
  },
  ...(['pv', 'pvh', 'linux'] as const).map((type) => ({
    name: `pages that ${type} claims`,
    make: (n: number) =>
      raw(type, (json, memory) => ({ ...json, memory: claimed(memory, 2 ** (type === 'pvh' ? 22 : 28) * n) })),
  })),
  {
    name: 'tables that lead back to themselves',
    make: (n) => raw('linux', withPaging, (bytes) => loops(bytes, 8 * n)),
  },
  {
    name: 'modules that share one text',
    make: (n) =>
      raw(
        'pvh',
        (json, memory) => ({ ...json, hvmStartInfo: { paddr: '0x1000' }, memory: { ...memory, data: [[0, 64]] } }),
        (bytes) => sharedText(bytes, 500 * n),
      ),
  },
  {
    name: 'notes seen again and again',
    refused: true,
    make: (n) => {
      const content = repeated(noteBytes('', new Uint8Array(0)), 5000 * n)
      const count = 1000 * n
      const core = coreOf((at) => times(count, () => noteHeader(at, content.length)), count, content)
      return { files: { 'g.core': { bytes: core } }, commands: all('g.core') }
    },
  },
  {
    name: 'pages seen again and again',
    refused: true,
    make: async (n) => {
      const sound = bytesOf(writeElfCore(await guest('linux')))
      const { p_offset, p_filesz } = Phdr64.decode(sound, Ehdr64.size)
      const note = sound.subarray(Number(p_offset), Number(p_offset) + Number(p_filesz))
      const count = 1900 * n
      const loads = (offset: number) =>
        times(count, (i) => loadHeader({ offset, filesz: PAGE_SIZE, paddr: MiB + i * PAGE_SIZE, memsz: PAGE_SIZE }))
      const core = coreOf(
        (at) => [noteHeader(at, note.length), ...loads(at + note.length)],
        count + 1,
        concat([note, new Uint8Array(PAGE_SIZE)]),
      )
      return { files: { 'g.core': { bytes: core } }, commands: all('g.core') }
    },
  },
  {
    name: "mappings in QEMU's core",
    make: (n) => ({
      files: { 'g.core': { bytes: qemuCore({ paging: true, aliases: 2500 * n }) } },
      commands: all('g.core'),
    }),
  },
  {
    name: 'one page of zeros at many addresses in a kdump file',
    make: (n) => {
      const pages = new Map(times(10_000 * n, (pfn) => [pfn, ZERO_PAGE] as const))
      return { files: { 'g.kdump': { bytes: kdumpFile({ pages }) } }, commands: all('g.kdump') }
    },
  },
  {
    name: 'pieces of a flattened kdump file',
    make: (n) => {
      const pages = new Map(times(6000 * n, (pfn) => [2 * pfn, ZERO_PAGE] as const))
      return { files: { 'g.kdump': { bytes: kdumpFile({ pages, flattened: true }) } }, commands: all('g.kdump') }
    },
  },
  {
    name: 'ranges of a LiME dump',
    make: (n) => {
      const ranges = times(3000 * n, (i) => [2 * i * PAGE_SIZE, 2 * i * PAGE_SIZE + 1] as const)
      const memory = new Uint8Array(2 * PAGE_SIZE * ranges.length)
      return { files: { 'g.lime': { bytes: limeDump(memory, ranges) } }, commands: all('g.lime') }
    },
  },
  {
    name: 'unknown records',
    make: async (n) => {
      const xl = bytesOf(writeXl(await guest('pv')))
      const unknown = new Uint8Array(Buffer.from('ffffff8000000000', 'hex'))
      const at = recordsAt(xl)
      const bytes = concat([xl.subarray(0, at), repeated(unknown, 20_000 * n), xl.subarray(at)])
      return { files: { 'g.xl': { bytes } }, commands: all('g.xl') }
    },
  },
  {
    name: 'pages sent again, backwards',
    make: async (n) => {
      const xl = bytesOf(writeXl(await guest('pv')))
      const at = pageDataAt(xl)
      const record = (pfn: number) => {
        const view = new DataView(new ArrayBuffer(24))
        view.setUint32(0, 1, true)
        view.setUint32(4, 16, true)
        view.setUint32(8, 1, true)
        view.setUint32(16, pfn, true)
        view.setUint32(20, 0xe0000000, true)
        return new Uint8Array(view.buffer)
      }
      const again = times(9000 * n, (i) => record(2047 - ((2 * i) % 1024)))
      return {
        files: { 'g.xl': { bytes: concat([xl.subarray(0, at), ...again, xl.subarray(at)]) } },
        commands: all('g.xl'),
      }
    },
  },
  {
    name: 'a compressed snapshot of zeros',
    make: async (n) => {
      const domain = buildDomain(await readKernel(KERNELS.pv()), {
        type: 'pv',
        memory: 128 * MiB,
        purpose: 'restore',
        ramdisk: new Uint8Array(16 * MiB * n),
      })
      return { files: { 'g.xl.gz': { bytes: gzipSync(bytesOf(writeXl(domain))) } }, commands: all('g.xl.gz') }
    },
  },
  {
    name: 'symbols in a text',
    make: async (n) => withSymbols(new Uint8Array(Buffer.from('ffffffff81000000 T a\n'.repeat(11_000 * n)))),
  },
  {
    name: 'symbols that expand',
    refused: true,
    make: async (n) => withSymbols(expandingKernel(16_000 * n)),
  },
  {
    name: 'tokens of digits without a table',
    make: async (n) => withSymbols(built({ segments: [{ paddr: 0x100000, data: repeated(DIGITS, 12_000 * n) }] })),
    refused: true,
  },
  { name: '+= of lists', make: (n) => config('a+=[1]\n'.repeat(35_000 * n)) },
  { name: '+= of texts', make: (n) => config("name+='x'\n".repeat(25_000 * n)) },
  { name: 'unknown keys', make: (n) => config(times(28_000 * n, (i) => `k${i.toString(36)}=1\n`).join('')) },
  { name: 'a long list', make: (n) => config(`cpus=[${'1,'.repeat(120_000 * n)}]\n`) },
  { name: 'disks', make: (n) => config(`disk=[${"'/d,raw,xvda',".repeat(2500 * n)}]\n`) },
  { name: 'a long line', make: (n) => config(`cpus='${'x'.repeat(250_000 * n)}'\n`) },
  {
    name: 'segments',
    make: (n) => kernel(kernelOf(times(4000 * n, (i) => ({ paddr: 0x100000 + 4096 * i, memsz: 32 })))),
  },
  {
    name: 'segments over one another',
    make: (n) => kernel(kernelOf(times(4000 * n, (i) => ({ paddr: 0x100000 + i, memsz: 32 * MiB })))),
  },
  {
    name: 'segments that show the whole file',
    make: (n) => {
      const count = 4000 * n
      const headers = (at: number) =>
        times(count, () => loadHeader({ offset: 0, filesz: at, paddr: 0x100000, memsz: at }))
      const bytes = coreOf(headers, count, new Uint8Array(16))
      new DataView(bytes.buffer).setUint16(Ehdr64.offsetOf('e_type'), ET_EXEC, true)
      return kernel(bytes)
    },
  },
  {
    name: 'notes of a kernel',
    make: (n) =>
      kernel(built({ notes: times(8000 * n, () => ({ owner: 'Xen', type: 'FEATURES' as const, desc: 'pae' })) })),
  },
  {
    name: 'sections that share one name',
    make: (n) =>
      kernel(built({ sections: times(2500 * n, () => ({ name: 's'.repeat(20), data: new Uint8Array(1) })) })),
  },
  ...Object.entries(SMALL_STREAMS).map(([name, hex]) => ({
    name: `streams of ${name}`,
    refused: true as const,
    make: (n: number) => {
      const stream = new Uint8Array(Buffer.from(hex, 'hex'))
      return kernel(repeated(stream, Math.floor((240_000 * n) / stream.length)))
    },
  })),
]

/** Nests lists in a sidecar. Done on the text, since JSON.stringify would need a stack as deep. */
function deepen(input: Input, depth: number): Input {
  const sidecar = Buffer.from(input.files['g.img.json']?.bytes ?? []).toString()
  const deep = sidecar.replace(/"x":0\}$/, `"x":${'['.repeat(depth)}${']'.repeat(depth)}}`)
  return { ...input, files: { ...input.files, 'g.img.json': text(deep) } }
}

/** Vcpu 0 in 64-bit mode; its tables begin at 0x1000. */
function withPaging(json: Json, memory: Json): Json {
  const [vcpu] = json.vcpus as Json[]
  const control = { cr0: '0x80000001', cr3: '0x1000', cr4: '0x20', efer: '0x500' }
  return { ...json, memory: { ...memory, data: [[0, 32]] }, vcpus: [{ ...vcpu, ...control }] }
}

/** Page tables whose entries name only these pages, in scattered order. */
function loops(image: Uint8Array, pages: number): Uint8Array {
  const bytes = image.slice()
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < pages * 512; i++) {
    view.setBigUint64(0x1000 + 8 * i, BigInt(1 + ((i * 7919) % pages)) * 0x1000n + 0x67n, true)
  }
  return bytes
}

/** An hvm_start_info at 0x1000 whose modules all have the same command line. */
function sharedText(image: Uint8Array, count: number): Uint8Array {
  const bytes = image.slice()
  const view = new DataView(bytes.buffer)
  view.setUint32(0x1000, 0x336ec578, true)
  view.setUint32(0x1004, 1, true)
  view.setUint32(0x1008, 0, true)
  view.setUint32(0x100c, count, true)
  view.setBigUint64(0x1010, 0x2000n, true)
  view.setBigUint64(0x1018, 0n, true)
  const end = 0x2000 + count * 32
  bytes.fill(0x61, end, end + 0x10000)
  bytes[end + 0x10000] = 0
  for (let i = 0; i < count; i++) view.setBigUint64(0x2000 + 32 * i + 16, BigInt(end), true)
  return bytes
}

/** Returns the offset of the first PAGE_DATA record. */
function pageDataAt(xl: Uint8Array): number {
  const view = new DataView(xl.buffer, xl.byteOffset)
  for (let at = recordsAt(xl); ; ) {
    if (view.getUint32(at, true) === 1) return at
    at += 8 + ((view.getUint32(at + 4, true) + 7) & ~7)
  }
}

/** Returns the offset of the first record after the libxc headers. */
function recordsAt(xl: Uint8Array): number {
  const at = Buffer.from(xl.buffer, xl.byteOffset, xl.length).indexOf('58454e46', 'hex')
  if (at < 0) throw new Error('no libxc header')
  return at - 8 + 24 + 16
}
