/**
 * The boot structures of a guest as their bytes, and every byte of them by its field.
 *
 * Source: xen/include/public/xen.h (start_info); Linux Documentation/arch/x86/zero-page.rst and boot.rst (boot_params);
 * xen/include/public/arch-x86/hvm/start_info.h (hvm_start_info).
 * Gotcha: a guest may have overwritten its boot structures: parts that do not decode are shown as bytes with the
 * reason.
 */

import {
  ApmBiosInfo,
  BootE820Entry,
  BootParams,
  E820_MAX_ENTRIES_ZEROPAGE,
  EfiInfo,
  IstInfo,
  OlpcOfwHeader,
  ScreenInfo,
  SetupHeader,
  XLF,
} from '../abi/boot-params.js'
import {
  HVM_START_INFO_V0_SIZE,
  HvmMemmapTableEntry,
  HvmModlistEntry,
  HvmStartInfo,
  XEN_HVM_START_MAGIC_VALUE,
} from '../abi/hvm-start-info.js'
import {
  SIF_INITDOMAIN,
  SIF_MOD_START_PFN,
  SIF_MULTIBOOT_MOD,
  SIF_PRIVILEGED,
  SIF_VIRT_P2M_4TOOLS,
  StartInfo32,
  StartInfo64,
} from '../abi/start-info.js'
import { toHex } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { printable } from '../printable.js'
import { hex, type Paddr, paddrOf } from '../units.js'
import { bitNames, LOADFLAGS } from './describe-linux.js'
import { START_INFO_ORIGINS } from './explain.js'
import { memoryTypeName } from './memory-map-text.js'

/** A field of a structure with its explanation. */
export type FieldMap = {
  /** C name, with the names of the structs around it: `hdr.version`. */
  readonly name: string
  /** Bytes from the start of the structure. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
  /** For people: text in quotes, numbers in hex. */
  readonly value: string
  /** The meaning or origin, or the names of the bits that are set. Empty where the name is enough. */
  readonly note: string
}

/** A structure with its bytes. */
export type StructMap = {
  /** Such as `start_info`. */
  readonly name: string
  /** Guest-physical address of its first byte, hex. */
  readonly paddr: string
  /** In hex, two digits a byte. */
  readonly bytes: string
  /** By offset. */
  readonly fields: readonly FieldMap[]
}

const SIF = { SIF_PRIVILEGED, SIF_INITDOMAIN, SIF_MULTIBOOT_MOD, SIF_MOD_START_PFN, SIF_VIRT_P2M_4TOOLS } as const

const flags = (names: Readonly<Record<string, number>>) => (value: unknown) =>
  bitNames(Number(value), names).join(' ') || 'no bit set'
const memoryType = (value: unknown): string => memoryTypeName(value) ?? 'unknown type'

/** The part of a struct that locates its fields, for any content. */
interface Layout {
  readonly name: string
  readonly size: number
  readonly fieldNames: readonly string[]
  offsetOf(field: string): number
  sizeOf(field: string): number
  decode(bytes: Uint8Array, at?: number): unknown
}

type Note = string | ((value: unknown) => string)

const BOOT_PARAMS_NOTES: Readonly<Record<string, Note>> = {
  'screen_info.orig_video_isVGA': 'kind of screen; 0 without one',
  acpi_rsdp_addr: 'physical address of the RSDP; 0: the kernel searches',
  ext_ramdisk_image: 'bits 32 to 63 of hdr.ramdisk_image',
  ext_ramdisk_size: 'bits 32 to 63 of hdr.ramdisk_size',
  ext_cmd_line_ptr: 'bits 32 to 63 of hdr.cmd_line_ptr',
  e820_entries: 'number of used entries in e820_table',
  sentinel: 'zero if the loader cleared boot_params, as it must',
  'hdr.setup_sects': 'length of the setup code in sectors of 512 bytes, without the boot sector',
  'hdr.syssize': 'length of the protected-mode code in units of 16 bytes',
  'hdr.boot_flag': 'ends the boot sector',
  'hdr.header': '"HdrS"',
  'hdr.version': 'boot protocol, major and minor',
  'hdr.type_of_loader': 'boot loader; 0xff: a loader without a number',
  'hdr.loadflags': flags(LOADFLAGS),
  'hdr.code32_start': 'load address of the protected-mode code',
  'hdr.ramdisk_image': 'physical address of the ramdisk; 0 without one',
  'hdr.ramdisk_size': 'bytes of the ramdisk',
  'hdr.heap_end_ptr': 'end of the setup code’s heap',
  'hdr.cmd_line_ptr': 'physical address of the command line',
  'hdr.initrd_addr_max': 'highest address the ramdisk may have',
  'hdr.kernel_alignment': 'alignment of the load address',
  'hdr.relocatable_kernel': '1: may be loaded anywhere',
  'hdr.min_alignment': 'least alignment, as a power of two',
  'hdr.xloadflags': flags(XLF),
  'hdr.cmdline_size': 'longest command line, without its NUL',
  'hdr.hardware_subarch': '0 PC, 1 lguest, 2 Xen, 3 Intel MID, 4 CE4100',
  'hdr.hardware_subarch_data': 'for lguest and Xen: physical address of start_info',
  'hdr.payload_offset': 'offset of the compressed kernel in the protected-mode code',
  'hdr.payload_length': 'bytes of the compressed kernel',
  'hdr.setup_data': 'physical address of the first node of setup_data; 0 without any',
  'hdr.pref_address': 'preferred load address',
  'hdr.init_size': 'bytes the kernel needs at its load address until it reads the memory map',
  'hdr.handover_offset': 'EFI handover entry',
  'hdr.kernel_info_offset': 'offset of kernel_info in the protected-mode code',
  type: memoryType,
}

const HVM_NOTES: Readonly<Record<string, Note>> = {
  magic: (value) => (value === XEN_HVM_START_MAGIC_VALUE ? '"xEn3" with the high bit of the E set' : 'wrong magic'),
  version: 'version 0 ends before memmap_paddr',
  flags: flags(SIF),
  nr_modules: 'entries of the list at modlist_paddr',
  modlist_paddr: 'physical address of the module list; 0 without one',
  cmdline_paddr: 'physical address of the command line; 0 without one',
  rsdp_paddr: 'physical address of the RSDP; 0 without ACPI',
  memmap_paddr: 'physical address of the memory map',
  memmap_entries: 'entries of the memory map',
  reserved: 'zero',
  type: memoryType,
}

const START_INFO_NOTES: Readonly<Record<string, Note>> = {
  ...START_INFO_ORIGINS,
  flags: (value) => `${flags(SIF)(value)}: ${START_INFO_ORIGINS.flags ?? ''}`,
}

function show(value: unknown): string {
  if (typeof value === 'bigint' || typeof value === 'number') return hex(value)
  if (typeof value === 'string') return JSON.stringify(printable(value))
  return value instanceof Uint8Array && value.some((byte) => byte !== 0) ? 'bytes' : 'zero'
}

/** Collects the fields of a struct; nested structs have their full names. */
class FieldList {
  readonly fields: FieldMap[] = []
  readonly #notes: Readonly<Record<string, Note>>

  constructor(notes: Readonly<Record<string, Note>>) {
    this.#notes = notes
  }

  add(struct: Layout, bytes: Uint8Array, at = 0, prefix = '', nested: Readonly<Record<string, Layout>> = {}) {
    const values = struct.decode(bytes, at) as Readonly<Record<string, unknown>>
    for (const field of struct.fieldNames) {
      const offset = at + struct.offsetOf(field)
      const inner = Object.hasOwn(nested, field) ? nested[field] : undefined
      if (inner) this.add(inner, bytes, offset, `${prefix}${field}.`)
      else {
        const length = struct.sizeOf(field)
        // For structs and lists that are not expanded, only whether they have any content.
        const value = typeof values[field] === 'object' ? bytes.subarray(offset, offset + length) : values[field]
        this.one(`${prefix}${field}`, offset, length, value, field)
      }
    }
  }

  one(name: string, offset: number, length: number, value: unknown, field = name): void {
    const note = this.#notes[name] ?? this.#notes[field] ?? ''
    const shown = show(value)
    this.fields.push({ name, offset, length, value: shown, note: typeof note === 'string' ? note : note(value) })
  }
}

const structMap = (name: string, paddr: Paddr, bytes: Uint8Array, fields: readonly FieldMap[]): StructMap => ({
  name,
  paddr: hex(paddr),
  bytes: toHex(bytes),
  fields,
})

function whole(domain: Domain, struct: Layout, paddr: Paddr, notes: Readonly<Record<string, Note>>): StructMap {
  const bytes = domain.memory.read(paddr, struct.size)
  const list = new FieldList(notes)
  list.add(struct, bytes)
  return structMap(struct.name, paddr, bytes, list.fields)
}

const NESTED: Readonly<Record<string, Layout>> = {
  screen_info: ScreenInfo,
  apm_bios_info: ApmBiosInfo,
  ist_info: IstInfo,
  olpc_ofw_header: OlpcOfwHeader,
  efi_info: EfiInfo,
  hdr: SetupHeader,
}

/** Returns boot_params, with each used entry of e820_table. */
function bootParamsMap(domain: Domain, paddr: Paddr): StructMap {
  const bytes = domain.memory.read(paddr, BootParams.size)
  const list = new FieldList(BOOT_PARAMS_NOTES)
  list.add(BootParams, bytes, 0, '', NESTED)
  const table = list.fields.findIndex(({ name }) => name === 'e820_table')
  const { e820_entries } = BootParams.decode(bytes)
  const used = Math.min(e820_entries, E820_MAX_ENTRIES_ZEROPAGE)
  const start = BootParams.offsetOf('e820_table')
  const entries = new FieldList(BOOT_PARAMS_NOTES)
  for (let i = 0; i < used; i++) entries.add(BootE820Entry, bytes, start + i * BootE820Entry.size, `e820_table[${i}].`)
  const rest = E820_MAX_ENTRIES_ZEROPAGE - used
  if (rest > 0) {
    const offset = start + used * BootE820Entry.size
    entries.one(
      'e820_table, unused',
      offset,
      rest * BootE820Entry.size,
      bytes.subarray(offset, offset + rest * BootE820Entry.size),
    )
  }
  list.fields.splice(table, 1, ...entries.fields)
  return structMap(BootParams.name, paddr, bytes, list.fields)
}

/** The most entries of a list that are shown; no real guest has as many. */
const MAX_LIST = 128

function listMap(domain: Domain, struct: Layout, paddr: bigint, count: number): StructMap[] {
  if (count === 0 || paddr === 0n) return []
  const shown = Math.min(count, MAX_LIST)
  const bytes = domain.memory.read(Number(paddr), shown * struct.size)
  const list = new FieldList(HVM_NOTES)
  for (let i = 0; i < shown; i++) list.add(struct, bytes, i * struct.size, `[${i}].`)
  return [structMap(`${struct.name}[${count}]`, Number(paddr), bytes, list.fields)]
}

function hvmStartInfoMaps(domain: Domain, paddr: Paddr): StructMap[] {
  const bytes = new Uint8Array(HvmStartInfo.size)
  domain.memory.readInto(paddr, bytes.subarray(0, HVM_START_INFO_V0_SIZE))
  const old = HvmStartInfo.decode(bytes).version === 0
  if (!old) domain.memory.readInto(paddr, bytes)
  const { modlist_paddr, nr_modules, memmap_paddr, memmap_entries } = HvmStartInfo.decode(bytes)
  const list = new FieldList(HVM_NOTES)
  list.add(HvmStartInfo, bytes)
  const size = old ? HVM_START_INFO_V0_SIZE : HvmStartInfo.size
  const fields = list.fields.filter(({ offset }) => offset < size)
  return [
    structMap(HvmStartInfo.name, paddr, bytes.subarray(0, size), fields),
    ...attempt(() => listMap(domain, HvmModlistEntry, modlist_paddr, nr_modules)),
    ...attempt(() => listMap(domain, HvmMemmapTableEntry, memmap_paddr, memmap_entries)),
  ]
}

/** A guest's pointer may lead nowhere: then there is nothing to show. */
function attempt<T>(make: () => T[]): T[] {
  try {
    return make()
  } catch (error) {
    if (error instanceof DomainBuilderError) return []
    throw error
  }
}

/** Returns the boot structures that the guest has. */
export function structMaps(domain: Domain): StructMap[] {
  const { boot } = domain
  if (boot.kind === 'hvm_start_info') {
    const { hvmStartInfo } = boot
    return hvmStartInfo === undefined ? [] : attempt(() => hvmStartInfoMaps(domain, hvmStartInfo))
  }
  if (boot.kind === 'firmware') return []
  const { startInfo } = boot
  const layout: Layout = domain.abi === 'x86_64' ? StartInfo64 : StartInfo32
  return [
    ...(boot.kind === 'boot_params' ? attempt(() => [bootParamsMap(domain, boot.bootParams)]) : []),
    ...(startInfo ? attempt(() => [whole(domain, layout, paddrOf(startInfo.pfn), START_INFO_NOTES)]) : []),
  ]
}
