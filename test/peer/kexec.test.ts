/**
 * Compares our boot_params at the 32-bit and the 64-bit entry with those of kexec(8), for the same kernel, command line,
 * ramdisk and memory. Both skip the kernel's setup code, so both must answer in place of the BIOS.
 *
 * Source: kexec-tools, by running it; Linux Documentation/arch/x86/zero-page.rst
 * (https://docs.kernel.org/arch/x86/zero-page.html).
 * Gotcha: an address is the loader's choice, so the bytes at both addresses are compared in its place.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import {
  BootE820Entry,
  BootParams,
  E820_MAX_ENTRIES_ZEROPAGE,
  EXT_MEM_K_MAX,
  LOAD_HIGH_ADDRESS,
  PROTOCOL_CMD_LINE_PTR,
  PROTOCOL_NEWEST,
  PROTOCOL_OLDEST,
  SETUP_DATA_TYPE,
  SetupData,
} from '../../lib/abi/boot-params.js'
import { defined } from '../../lib/defined.js'
import { pcMemoryMap } from '../../lib/guest/memory-map.js'
import { buildDomain, type Kernel, type LinuxConfig, readKernel } from '../../lib/index.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import type { Range } from '../../lib/units.js'
import { type NamedFields, noStaleNames, sameBootParams } from './boot-params.js'
import { findKernel, type KernelName } from './kernels.js'
import { findKexec, type KexecSpec } from './kexec.js'
import { requirePeer } from './require-peer.js'

const MiB = 2 ** 20
const CMDLINE = 'console=ttyS0 loader=compared'
const RAMDISK = patternBytes(5000)
const KEXEC_LOADER = 0xd0
/** kexec keeps the real mode's interrupt table out of the RAM. */
const IVT_END = 0x400n

/** Every field in which the two differ, and the reason. */
const NAMED: NamedFields = {
  'screen_info.orig_video_mode':
    "text of 80 by 25 is mode 3 to a BIOS; kexec copies the running kernel's mode, which is hidden here",
  'screen_info.cl_magic': 'kexec also writes the command line as protocols before 2.02 read it',
  'screen_info.cl_offset': 'the same',
  'screen_info.ext_mem_k':
    'kexec counts up to the last byte of memory, so it is 1 KiB short, and stops at a reserved range',
  alt_mem_k: 'the same',
  'hdr.root_flags': "kexec asks for a read-only root; ours is the file's default",
  'hdr.root_dev': "kexec names the first IDE disk; ours is the file's default",
  'hdr.boot_flag': 'kexec clears its second byte, where old kernels read whether there is a PS/2 mouse; ours is kept',
  'hdr.type_of_loader': 'who loaded it: kexec has a registered number, ours is 0xff',
  'hdr.loadflags': 'kexec clears all of them; ours keeps those of the kernel, and sets CAN_USE_HEAP',
  'hdr.code32_start': 'the address of the kernel; kexec leaves the default of the file',
  'hdr.heap_end_ptr': 'for setup code, which does not run; kexec leaves the default of the file',
  'hdr.cmd_line_ptr': 'where the command line lies',
  ext_cmd_line_ptr: 'the same',
  'hdr.ramdisk_image': 'where the ramdisk lies',
  ext_ramdisk_image: 'the same',
  'e820_table.0': 'kexec keeps the first 1024 bytes out of the RAM; every Linux does the same for the first page',
}

/** The same for an ELF, for which both make a header. */
const NAMED_VMLINUX: NamedFields = {
  ...NAMED,
  'hdr.version': 'kexec says 2.06; ours is the newest, since it may have setup_data of 2.09',
  'hdr.initrd_addr_max': 'what a kernel tells its loader, not what it reads',
  'hdr.cmdline_size': 'the same',
}

interface Case {
  readonly name: string
  readonly kernel: Uint8Array
  readonly type: KexecSpec['type']
  readonly memory: number
  readonly ramdisk?: Uint8Array
  readonly reserve?: readonly Range<number>[]
}

const MODE = { bzImage: 32, bzImage64: 64, 'elf-x86': 32, 'elf-x86_64': 64 } as const

/** The fields of the header that a loader leaves alone, each with a separate value. There is no payload to decompress. */
const OWN = {
  ram_size: 0x1234,
  vid_mode: 0xffff,
  realmode_swtch: 0x23456789,
  start_sys_seg: 0x1000,
  setup_move_size: 0x7fff,
  bootsect_kludge: 0x3456789a,
  ext_loader_ver: 0x12,
  ext_loader_type: 0x23,
  handover_offset: 0x190,
  kernel_info_offset: 0x456,
  payload_offset: 0,
  payload_length: 0,
}

/** A bzImage of each protocol version, and ELFs of both classes. */
function madeCases(): Case[] {
  const cases: Case[] = []
  for (let protocol = PROTOCOL_OLDEST; protocol <= PROTOCOL_NEWEST; protocol++) {
    const kernel = buildBzImage({ payload: patternBytes(4096), protocol, header: OWN })
    cases.push({ name: `protocol 0x${protocol.toString(16)}`, kernel, type: 'bzImage', memory: 64 * MiB })
  }
  const entry = 0x1000000
  for (const [bits, type] of [
    [32, 'elf-x86'],
    [64, 'elf-x86_64'],
  ] as const) {
    const kernel = buildElf({ class: bits, entry: BigInt(entry), segments: [{ paddr: entry, data: patternBytes(64) }] })
    cases.push({ name: `an ELF${bits}`, kernel, type, memory: 256 * MiB })
  }
  return cases
}

/** Ranges of a page every 64 KiB from `start` on: more than boot_params has entries for. */
const scattered = (start: number): Range<number>[] =>
  Array.from({ length: 100 }, (_, i) => ({ start: start + i * 0x10000, end: start + i * 0x10000 + 0x1000 }))

function debianCases(amd64: Uint8Array, pae: Uint8Array): Case[] {
  return [
    { name: 'amd64 by the 64-bit entry', kernel: amd64, type: 'bzImage64', memory: 512 * MiB },
    { name: 'amd64 with memory above 4 GiB', kernel: amd64, type: 'bzImage64', memory: 6144 * MiB },
    {
      ...{ name: 'amd64 with a scattered map', kernel: amd64, type: 'bzImage64', memory: 1024 * MiB },
      reserve: scattered(512 * MiB),
    },
    { name: 'amd64 by the 32-bit entry', kernel: amd64, type: 'bzImage', memory: 512 * MiB },
    { name: '686-pae', kernel: pae, type: 'bzImage', memory: 512 * MiB },
    { name: '686-pae with memory above 4 GiB', kernel: pae, type: 'bzImage', memory: 6144 * MiB },
    {
      name: '686-pae with a scattered map',
      kernel: pae,
      type: 'bzImage',
      memory: 1024 * MiB,
      reserve: scattered(0x8000000),
    },
  ]
}

/** boot_params, and the memory that they point into. */
interface Guest {
  readonly bootParams: Uint8Array
  read(paddr: number, bytes: number): Uint8Array
}

function buildOurs(kernel: Kernel, { type, memory, ramdisk, reserve }: Case): Guest {
  const config: LinuxConfig = {
    type: 'linux',
    entry: MODE[type],
    memory,
    cmdline: CMDLINE,
    ...(ramdisk && { ramdisk }),
    ...(reserve && { reserve }),
  }
  const { boot, memory: pages } = buildDomain(kernel, config)
  if (boot.kind !== 'boot_params') throw new Error(boot.kind)
  const read = (paddr: number, bytes: number) => pages.read(paddr, bytes)
  return { bootParams: read(boot.bootParams, BootParams.size), read }
}

/** kexec puts the command line of an ELF into the last padding of the page. */
function withoutCommandLine(page: Uint8Array): Uint8Array {
  return Uint8Array.from(page).fill(0, BootParams.decode(page).screen_info.cl_offset)
}

const paddr = (high: number, low: number): number => high * 2 ** 32 + low

/** Returns the bytes that the fields with addresses name. */
function pointedTo({ bootParams, read }: Guest): Record<string, string> {
  const { hdr, ext_cmd_line_ptr, ext_ramdisk_image } = BootParams.decode(bootParams)
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
  const nodes: Record<string, string> = {}
  for (let at = Number(hdr.setup_data); at !== 0; ) {
    const { next, type, len } = SetupData.decode(read(at, SetupData.size))
    nodes[`setup_data ${type}`] = text(read(at + SetupData.size, len))
    at = Number(next)
  }
  return {
    // kexec has no place for it in a kernel before 2.02: the offset counts from 0x90000, where it loads nothing.
    ...(hdr.version >= PROTOCOL_CMD_LINE_PTR && {
      cmdline: text(read(paddr(ext_cmd_line_ptr, hdr.cmd_line_ptr), CMDLINE.length + 1)),
    }),
    ...(hdr.ramdisk_size > 0 && {
      ramdisk: text(read(paddr(ext_ramdisk_image, hdr.ramdisk_image), hdr.ramdisk_size)),
    }),
    ...nodes,
  }
}

/** Asserts the values of the fields that differ, as far as the difference has a rule. */
function differByRule(t: Test, a: Uint8Array, b: Uint8Array, { reserve = [] }: Case): void {
  const [ours, theirs] = [BootParams.decode(a), BootParams.decode(b)]
  const capped = (kib: number) => Math.min(kib, EXT_MEM_K_MAX)
  // kexec stops at the first range that is not RAM, a BIOS does not.
  const reserved = reserve[0] && (reserve[0].start - LOAD_HIGH_ADDRESS) / 1024
  const kib = reserved ?? ours.alt_mem_k
  t.equal(theirs.alt_mem_k, kib - 1, 'KiB above 1 MiB')
  t.equal(theirs.screen_info.ext_mem_k, capped(kib - 1), 'KiB above 1 MiB, capped')
  t.equal(ours.screen_info.ext_mem_k, capped(ours.alt_mem_k), 'KiB above 1 MiB, capped, ours')
  t.equal(theirs.hdr.type_of_loader, KEXEC_LOADER)
  const [first, ivt] = [ours.e820_table[0], theirs.e820_table[0]]
  t.same(ivt, first && { ...first, addr: IVT_END, size: first.size - IVT_END }, 'the first range of RAM')
}

t.test('boot_params are equal to those of kexec', async (t) => {
  const kexec = await requirePeer(t, () => findKexec(t))
  if (kexec === undefined) return
  const kernels: Uint8Array[] = []
  for (const name of ['debian-amd64', 'debian-686-pae'] satisfies KernelName[]) {
    const path = await requirePeer(t, () => findKernel(name))
    if (path === undefined) return
    kernels.push(readFileSync(path))
  }
  const [amd64, pae] = kernels as [Uint8Array, Uint8Array]
  const needed = new Set<string>()
  const read = new Map<Uint8Array, Kernel>()
  for (const built of [...debianCases(amd64, pae), ...madeCases()]) {
    await t.test(built.name, async (t) => {
      const { type, memory, reserve } = built
      const { entries } = pcMemoryMap(memory, reserve)
      const kernel = read.get(built.kernel) ?? (await readKernel(built.kernel))
      read.set(built.kernel, kernel)
      for (const ramdisk of [undefined, RAMDISK]) {
        const parts = defined({ ramdisk })
        const theirs = kexec({ type, kernel: built.kernel, cmdline: CMDLINE, map: entries, ...parts })
        const ours = buildOurs(kernel, { ...built, ...parts })
        const named = type.startsWith('elf') ? NAMED_VMLINUX : NAMED
        const page = withoutCommandLine(theirs.bootParams)
        for (const field of sameBootParams(t, ours.bootParams, page, named)) needed.add(field)
        differByRule(t, ours.bootParams, page, built)
        const pointed = pointedTo(ours)
        t.same(pointedTo(theirs), pointed, 'command line, ramdisk and setup_data')
        const rest = Math.max(0, entries.length - E820_MAX_ENTRIES_ZEROPAGE) * BootE820Entry.size
        t.equal((pointed[`setup_data ${SETUP_DATA_TYPE.SETUP_E820_EXT}`] ?? '').length, rest, 'the rest of the map')
      }
    })
  }
  noStaleNames(t, NAMED_VMLINUX, needed)
})
