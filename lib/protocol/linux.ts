/**
 * The Linux boot convention: Kernel + configuration -> Domain. The guest is entered in 32-bit or 64-bit mode with
 * boot_params in %esi or %rsi, or in real mode through its own setup code.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html), "32-bit Boot Protocol",
 * "64-bit Boot Protocol", "Running the Kernel"; docs/linux-entry.md, "The guarantees of every entry".
 * Gotcha: boot_params holds physical addresses only; where paging is on, each of them is mapped to itself.
 */

import { HARDWARE_SUBARCH, LOAD_HIGH_ADDRESS } from '../abi/boot-params.js'
import { DEVICE_HOLE } from '../abi/pc.js'
import { encodeUtf8, utf8Length } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, type DomainAbi, type LinuxBoot, pageTypes } from '../guest/domain.js'
import { LARGE_PAGE_SIZE, LinearTables } from '../guest/linear-tables.js'
import { GuestMemory } from '../guest/memory.js'
import type { MapEntry, MemoryMap } from '../guest/memory-map.js'
import { makeP2m } from '../guest/p2m.js'
import type { Vcpu } from '../guest/vcpu.js'
import { type Kernel, originOf } from '../kernel/kernel.js'
import { alignUp, hex, PADDR_MAX, PAGE_SIZE, type Paddr, paddrOf, pagesFor, pfnOf, type Range } from '../units.js'
import {
  bootParamsPage,
  type LoaderSays,
  setupCode,
  setupDataBytes,
  setupDataChain,
  setupDataNodes,
} from './linux-boot-params.js'
import type { LinuxOptions, SetupDataNode } from './linux-config.js'
import { type LinuxLoad, loadLinux } from './linux-image.js'
import { type LowMemory, placeLow } from './linux-low.js'
import { startInfoBlock } from './linux-start-info.js'
import { linuxGdt, linuxVcpus, realModeVcpus } from './linux-state.js'
import type { Module } from './modules.js'
import { Placement, type Where } from './placement.js'

/** The top of memory below 4 GiB, where a BIOS has its tables: nothing is placed there for a guest with a BIOS. */
const BIOS_BYTES = 2 ** 20
/** Ramdisks that follow one another begin at a multiple of this, as cpio archives do within a file. */
const ARCHIVE_ALIGN = 4

/** Below 4 GiB and above low memory, the first free pages. */
const FIRST_FREE: Where = {
  within: { start: LOAD_HIGH_ADDRESS, end: DEVICE_HOLE.start },
  align: PAGE_SIZE,
  from: 'bottom',
}

/**
 * Builds a guest of the Linux boot protocol: everything is placed, and nothing is copied except a relocated kernel.
 * @throws DomainBuilderError when the kernel cannot be entered as asked, or something has no place.
 */
export function buildLinux(kernel: Kernel, options: LinuxOptions): Domain<LinuxBoot> {
  const placement = new Placement(options.map, options.within)
  const load = loadLinux(kernel, options, placement)
  checkState(load, options)
  const layout = placeParts(load, options, placement)
  const { startInfo, tables } = layout
  const abi = load.mode === 64 ? 'x86_64' : tables === undefined ? 'x86_32' : 'x86_32p'
  const memory = fillMemory(load, layout, options, abi)
  const boot: LinuxBoot = defined({
    kind: 'boot_params',
    bootParams: layout.low.bootParams,
    startInfo: startInfo === undefined ? undefined : { pfn: pfnOf(startInfo), vaddr: BigInt(startInfo) },
    pageTables: tables?.frames,
  })
  return {
    type: 'linux',
    abi,
    name: options.name,
    memory,
    maxmem: options.maxmem,
    p2m: makeP2m('identity', memory.endPfn),
    regions: placement.regions(tables !== undefined),
    vcpus: vcpusAtEntry(load, layout, options),
    boot,
    kernel: originOf(kernel),
    pageType: pageTypes(boot),
  }
}

/** The places of all parts except the kernel, and the content that had to be known to place them. */
interface LinuxLayout {
  readonly map: MemoryMap
  /** The part of the map that the kernel is told: in real mode it asks the BIOS. */
  readonly told: readonly MapEntry[]
  readonly cmdline: string
  readonly gdt: Uint8Array
  readonly low: LowMemory
  readonly elfcorehdr: Paddr | undefined
  readonly ramdisk: PlacedRamdisk | undefined
  readonly setupData: { readonly start: Paddr; readonly nodes: readonly SetupDataNode[] } | undefined
  readonly startInfo: Paddr | undefined
  readonly tables: LinearTables | undefined
}

/** Places everything except the kernel, which is placed already. */
function placeParts(load: LinuxLoad, options: LinuxOptions, placement: Placement): LinuxLayout {
  const elfcorehdr = placeElfCoreHeader(options, placement)
  const map = elfcorehdr === undefined ? options.map : options.map.reserving(elfcorehdr)
  const words = [options.cmdline, elfcorehdr === undefined ? '' : `elfcorehdr=${hex(elfcorehdr.start)}`]
  const cmdline = words.filter(Boolean).join(' ')
  const length = utf8Length(cmdline)
  if (length > load.cmdlineSize) {
    throw new DomainBuilderError('does-not-fit', 'the command line is too long for the kernel', {
      expected: `at most ${load.cmdlineSize} bytes (cmdline_size)`,
      found: `${length}`,
    })
  }
  const gdt = load.mode === 16 ? new Uint8Array(0) : linuxGdt(load.mode, options.ring)
  const low = placeLow(load, { cmdline: length + 1, gdt: gdt.length }, placement)
  const ramdisk = placeRamdisk(options.modules, load, options, placement)
  const place = (name: string, bytes: number): Paddr => placement.somewhere(name, bytes, FIRST_FREE)
  const told = load.mode === 16 ? [] : map.entries
  const nodes = setupDataNodes(options.setupData, told)
  const setupData = nodes.length === 0 ? undefined : { start: place('setup_data', setupDataBytes(nodes)), nodes }
  const startInfo = options.subarch === HARDWARE_SUBARCH.PC ? undefined : place('start_info', PAGE_SIZE)
  const tables = load.mode === 64 || options.paging ? placeTables(load, options, placement) : undefined
  return { map, told, cmdline, gdt, low, elfcorehdr: elfcorehdr?.start, ramdisk, setupData, startInfo, tables }
}

/** Returns the memory with everything in its place. */
function fillMemory(load: LinuxLoad, layout: LinuxLayout, options: LinuxOptions, abi: DomainAbi): GuestMemory {
  const { low, cmdline, elfcorehdr, ramdisk, setupData, startInfo, tables } = layout
  const memory = new GuestMemory(layout.map.frames)
  for (const { paddr, bytes, memsz } of load.pieces) {
    memory.clear(paddr, memsz)
    memory.place(paddr, bytes)
  }
  for (const { paddr, bytes } of ramdisk?.pieces ?? []) memory.place(paddr, bytes)
  if (elfcorehdr !== undefined && options.elfcorehdr !== undefined) memory.place(elfcorehdr, options.elfcorehdr)
  memory.write(low.cmdline, encodeUtf8(`${cmdline}\0`))
  if (low.gdt !== undefined) memory.write(low.gdt, layout.gdt)
  if (setupData !== undefined) memory.write(setupData.start, setupDataChain(setupData.nodes, setupData.start))
  if (tables !== undefined) {
    memory.generate(paddrOf(tables.top), tables.count * PAGE_SIZE, (offset, out) =>
      tables.fill(tables.top + offset / PAGE_SIZE, out),
    )
  }
  if (startInfo !== undefined) {
    memory.write(startInfo, startInfoBlock(abi, memory.pageCount, cmdline, tables, ramdisk))
  }
  const says: LoaderSays = defined({
    cmdline: low.cmdline,
    heapEndPtr: low.heapEndPtr,
    subarch: options.subarch,
    subarchData: BigInt(startInfo ?? 0),
    keepSegments: options.ring !== 0 || options.paging,
    ramdisk,
    setupData: setupData?.start,
  })
  memory.write(low.bootParams, load.mode === 16 ? setupCode(load, says) : bootParamsPage(load, says, layout.told))
  return memory
}

function vcpusAtEntry({ mode, entry }: LinuxLoad, { low, tables }: LinuxLayout, options: LinuxOptions): Vcpu[] {
  const { bootParams, gdt } = low
  if (mode === 16 || gdt === undefined) return realModeVcpus(low, options.vcpus)
  const cr3 = tables && paddrOf(tables.top)
  return linuxVcpus(defined({ mode, ring: options.ring, entry, bootParams, gdt, cr3 }), options.vcpus)
}

/** A crash kernel reads it as it would read a device, so it is not RAM of that kernel. */
function placeElfCoreHeader({ elfcorehdr }: LinuxOptions, placement: Placement): Range<Paddr> | undefined {
  if (elfcorehdr === undefined) return undefined
  const start = placement.somewhere('elfcorehdr', elfcorehdr.length, FIRST_FREE)
  return { start, end: start + pagesFor(elfcorehdr.length) * PAGE_SIZE }
}

/** Checks that the mode that the kernel is entered in supports the options. */
function checkState({ mode, mappings }: LinuxLoad, { ring, paging }: LinuxOptions): void {
  if (mode === 16 && ring !== 0) {
    throw new DomainBuilderError('bad-config', 'real mode has no privilege levels', {
      expected: 'ring 0, or another entry',
      found: `ring ${ring}`,
    })
  }
  const beyond = mappings.find(({ vaddr, bytes }) => mode === 32 && vaddr + BigInt(bytes) > 1n << 32n)
  if (paging && beyond) {
    throw new DomainBuilderError('does-not-fit', 'a segment does not fit the address space', {
      expected: `an end at ${hex(1n << 32n)} or before`,
      found: hex(beyond.vaddr + BigInt(beyond.bytes)),
    })
  }
}

interface PlacedRamdisk {
  readonly start: Paddr
  readonly bytes: number
  readonly pieces: readonly { readonly paddr: Paddr; readonly bytes: Uint8Array }[]
}

/** Places all ramdisks as one, as high as the kernel allows: Linux unpacks archives that follow one another. */
function placeRamdisk(
  modules: readonly Module[],
  load: LinuxLoad,
  options: LinuxOptions,
  placement: Placement,
): PlacedRamdisk | undefined {
  if (modules.length === 0) return undefined
  let bytes = 0
  const offsets = modules.map((module) => {
    const offset = alignUp(bytes, ARCHIVE_ALIGN)
    bytes = offset + module.bytes.length
    return offset
  })
  const start = ramdiskAddress(bytes, load, options, placement)
  return {
    start,
    bytes,
    pieces: modules.map((module, i) => ({ paddr: start + (offsets[i] as Paddr), bytes: module.bytes })),
  }
}

function ramdiskAddress(bytes: number, load: LinuxLoad, options: LinuxOptions, placement: Placement): Paddr {
  const limit = load.initrdAddrMax + 1
  const asked = options.ramdiskAddress
  if (asked !== undefined) {
    if (asked + bytes > limit && !(load.above4G && asked >= DEVICE_HOLE.end)) {
      throw new DomainBuilderError('does-not-fit', 'the ramdisk is too high', {
        expected: `its last byte at ${hex(load.initrdAddrMax)} or before (initrd_addr_max)`,
        found: hex(asked + bytes - 1),
      })
    }
    return placement.at('ramdisk', asked, bytes)
  }
  const top = Math.min(placement.map.end, DEVICE_HOLE.start) - (load.mode === 16 ? BIOS_BYTES : 0)
  const within = { start: LOAD_HIGH_ADDRESS, end: Math.min(limit, top) }
  const below = { within, align: PAGE_SIZE, from: 'top' } as const
  if (load.above4G && placement.find(bytes, below) === undefined) {
    const above = { ...below, within: { start: DEVICE_HOLE.end, end: PADDR_MAX } }
    if (placement.find(bytes, above) !== undefined) return placement.somewhere('ramdisk', bytes, above)
  }
  return placement.somewhere('ramdisk', bytes, below)
}

/** Returns page tables that map everything at its own address and, where asked for, the segments at p_vaddr. */
function placeTables(load: LinuxLoad, options: LinuxOptions, placement: Placement): LinearTables {
  const levels = load.mode === 64 ? 4 : 3
  const mappings = options.paging ? load.mappings : []
  const plan = (pfn: number, end: Paddr) => new LinearTables(levels, pfn, end, mappings, { user: options.ring === 3 })
  // The tables lie in the memory that they map, so a few more tables may be needed.
  const own = alignUp(plan(0, placement.end).count * PAGE_SIZE, LARGE_PAGE_SIZE)
  const { count } = plan(0, alignUp(placement.end, LARGE_PAGE_SIZE) + own)
  return plan(pfnOf(placement.somewhere('page_tables', count * PAGE_SIZE, FIRST_FREE)), placement.end)
}
