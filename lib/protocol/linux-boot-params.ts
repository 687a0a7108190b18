/**
 * boot_params, the page that %esi or %rsi points to: the kernel's own setup header, and the fields that a loader adds.
 * Each field is set only where the header's version has it.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: every field that neither a loader nor setup code fills in must stay zero, the sentinel too. Linux takes a
 * set sentinel for the mark of an old loader that did not clear the page, and ignores half of the page.
 */
import {
  BOOT_FLAG,
  BootE820Entry,
  BootParams,
  CAN_USE_HEAP,
  E820_MAX_ENTRIES_ZEROPAGE,
  E820_TYPE,
  EXT_MEM_K_MAX,
  HARDWARE_SUBARCH,
  HDRS_MAGIC,
  KEEP_SEGMENTS,
  LOAD_HIGH_ADDRESS,
  LOADED_HIGH,
  LOADER_TYPE_UNDEFINED,
  OLD_CMDLINE_MAGIC,
  OLD_SETUP_ADDRESS,
  PROTOCOL_CMD_LINE_PTR,
  PROTOCOL_HEAP,
  PROTOCOL_NEWEST,
  ScreenInfo,
  SETUP_DATA_TYPE,
  SETUP_FIELD_SINCE,
  SETUP_HEADER_MAX,
  SETUP_HEADER_OFFSET,
  SETUP_JUMP_END,
  SetupData,
  SetupHeader,
  type SetupHeaderFields,
  TEXT_SCREEN,
} from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import type { MapEntry } from '../guest/memory-map.js'
import { logBoot } from '../log.js'
import { hex, type Paddr, U32_MAX } from '../units.js'
import type { SetupDataNode } from './linux-config.js'
import type { LinuxLoad, LinuxSetup } from './linux-image.js'

/** The loader's decisions that have a field in the header. */
export interface LoaderSays {
  readonly cmdline: Paddr
  /** For setup code. */
  readonly heapEndPtr: number
  readonly ramdisk?: { readonly start: Paddr; readonly bytes: number }
  /** The first node of the chain. */
  readonly setupData?: Paddr
  readonly subarch: number
  readonly subarchData: bigint
  /** The kernel must not load segment registers: its privilege level or its paging differ from the protocol's. */
  readonly keepSegments: boolean
}

const low32 = (value: number): number => value % 2 ** 32
const high32 = (value: number): number => Math.floor(value / 2 ** 32)

/**
 * Returns the boot_params page.
 * @param map the memory map for the kernel, written as far as there is room for it.
 * @throws DomainBuilderError `does-not-fit` for a value that has no field in the header's version.
 */
export function bootParamsPage(load: LinuxLoad, says: LoaderSays, map: readonly MapEntry[]): Uint8Array {
  const page = new Uint8Array(BootParams.size)
  const view = new DataView(page.buffer)
  if (says.subarch === HARDWARE_SUBARCH.PC) {
    const above1M = kibAbove1M(map)
    const ext_mem_k = Math.min(above1M, EXT_MEM_K_MAX)
    page.set(ScreenInfo.encode({ ...ScreenInfo.zero, ...TEXT_SCREEN, ext_mem_k }), BootParams.offsetOf('screen_info'))
    view.setUint32(BootParams.offsetOf('alt_mem_k'), above1M, true)
  }
  page.set(headerBytes(load), SETUP_HEADER_OFFSET)
  fillHeader(page, load, says)
  view.setUint32(BootParams.offsetOf('ext_cmd_line_ptr'), high32(says.cmdline), true)
  view.setUint32(BootParams.offsetOf('ext_ramdisk_image'), high32(says.ramdisk?.start ?? 0), true)
  view.setUint32(BootParams.offsetOf('ext_ramdisk_size'), high32(says.ramdisk?.bytes ?? 0), true)

  const inPage = map.slice(0, E820_MAX_ENTRIES_ZEROPAGE)
  page[BootParams.offsetOf('e820_entries')] = inPage.length
  page.set(encodeMap(inPage), BootParams.offsetOf('e820_table'))
  for (const { start, end, type } of inPage) logBoot('e820 [%s, %s) type %d', hex(start), hex(end), type)
  return page
}

/**
 * Returns the memory from 1 MiB up to the end of the last RAM before a hole, in KiB, as the BIOS calls e801 and 88
 * do: they count reserved pages in between. Linux 2.4 and early 2.6 need it, and the screen's size, as their setup code
 * would find them; later kernels look at the memory map.
 */
function kibAbove1M(map: readonly MapEntry[]): number {
  let at = LOAD_HIGH_ADDRESS
  let ramEnd = at
  for (const { start, end, type } of map) {
    if (start > at) break
    at = Math.max(at, end)
    if (type === E820_TYPE.RAM) ramEnd = Math.max(ramEnd, end)
  }
  return Math.min(Math.floor((ramEnd - LOAD_HIGH_ADDRESS) / 1024), U32_MAX)
}

/**
 * Returns boot sector and setup code, with the loader's fields of the header set. The setup code makes the rest of
 * boot_params.
 * @throws DomainBuilderError as bootParamsPage() does.
 */
export function setupCode(load: LinuxLoad, says: LoaderSays): Uint8Array {
  const code = Uint8Array.from((load.setup as LinuxSetup).bytes)
  fillHeader(code, load, says)
  return code
}

/** Sets the loader's fields of a header at 0x1f1, and the earlier fields where an old kernel finds its command line. */
function fillHeader(page: Uint8Array, load: LinuxLoad, says: LoaderSays): void {
  const version = load.setup?.bzImage.protocol ?? PROTOCOL_NEWEST
  const view = new DataView(page.buffer)
  const flags = page[SETUP_HEADER_OFFSET + SetupHeader.offsetOf('loadflags')] as number

  const header = new HeaderWriter(view, version)
  header.set('type_of_loader', LOADER_TYPE_UNDEFINED)
  const heap = version >= PROTOCOL_HEAP ? CAN_USE_HEAP : 0
  header.set('loadflags', flags | heap | (says.keepSegments ? KEEP_SEGMENTS : 0))
  header.set('heap_end_ptr', says.heapEndPtr)
  if (load.code32Start !== undefined && load.code32Start <= U32_MAX) header.set('code32_start', load.code32Start)
  setCommandLine(header, view, says.cmdline)
  if (says.ramdisk !== undefined) {
    header.set('ramdisk_image', low32(says.ramdisk.start))
    header.set('ramdisk_size', low32(says.ramdisk.bytes))
  }
  if (says.subarch !== 0) {
    header.require('hardware_subarch', says.subarch)
    header.require('hardware_subarch_data', says.subarchData)
  }
  if (says.setupData !== undefined) header.require('setup_data', BigInt(says.setupData))
}

/** Returns the header as the file has it, up to the end that its own jump gives; for an ELF alone, a minimal header. */
function headerBytes({ setup }: LinuxLoad): Uint8Array {
  if (setup === undefined) {
    return SetupHeader.encode({
      ...SetupHeader.zero,
      boot_flag: BOOT_FLAG,
      header: HDRS_MAGIC,
      version: PROTOCOL_NEWEST,
      loadflags: LOADED_HIGH,
    })
  }
  const jump = setup.bytes[SETUP_JUMP_END - 1] as number
  const end = Math.min(SETUP_JUMP_END + jump, SETUP_HEADER_OFFSET + SETUP_HEADER_MAX)
  return setup.bytes.subarray(SETUP_HEADER_OFFSET, end)
}

/** Sets cmd_line_ptr, or the fields that preceded it. */
function setCommandLine(header: HeaderWriter, view: DataView, cmdline: Paddr): void {
  if (header.version >= PROTOCOL_CMD_LINE_PTR) {
    header.set('cmd_line_ptr', low32(cmdline))
    return
  }
  view.setUint16(ScreenInfo.offsetOf('cl_magic'), OLD_CMDLINE_MAGIC, true)
  view.setUint16(ScreenInfo.offsetOf('cl_offset'), cmdline - OLD_SETUP_ADDRESS, true)
}

/** Sets fields of the header in place. */
class HeaderWriter {
  readonly version: number
  readonly #view: DataView

  constructor(view: DataView, version: number) {
    this.#view = view
    this.version = version
  }

  /** Does nothing where the version does not have the field: its bytes are the kernel's code. */
  set(field: keyof SetupHeaderFields, value: number | bigint): void {
    if (SETUP_FIELD_SINCE[field] > this.version) return
    const at = SETUP_HEADER_OFFSET + SetupHeader.offsetOf(field)
    const size = SetupHeader.sizeOf(field)
    if (size === 8) this.#view.setBigUint64(at, BigInt(value), true)
    else if (size === 4) this.#view.setUint32(at, Number(value), true)
    else if (size === 2) this.#view.setUint16(at, Number(value), true)
    else this.#view.setUint8(at, Number(value))
    logBoot('hdr.%s = %s', field, hex(value))
  }

  /** Sets a field that the caller asked for: a kernel without it is refused. */
  require(field: keyof SetupHeaderFields, value: number | bigint): void {
    if (SETUP_FIELD_SINCE[field] > this.version) {
      throw new DomainBuilderError('does-not-fit', `the kernel's setup header has no ${field}`, {
        expected: `protocol ${hex(SETUP_FIELD_SINCE[field])} or newer`,
        found: hex(this.version),
      })
    }
    this.set(field, value)
  }
}

function encodeMap(map: readonly MapEntry[]): Uint8Array {
  const out = new Uint8Array(map.length * BootE820Entry.size)
  map.forEach(({ start, end, type }, i) => {
    out.set(BootE820Entry.encode({ addr: BigInt(start), size: BigInt(end - start), type }), i * BootE820Entry.size)
  })
  return out
}

/** Returns the caller's nodes, and the part of the memory map that boot_params has no room for. */
export function setupDataNodes(given: readonly SetupDataNode[], map: readonly MapEntry[]): readonly SetupDataNode[] {
  const rest = map.slice(E820_MAX_ENTRIES_ZEROPAGE)
  if (rest.length === 0) return given
  return [{ type: SETUP_DATA_TYPE.SETUP_E820_EXT, data: encodeMap(rest) }, ...given]
}

/** Nodes are eight-byte aligned, so that their links are too. */
const NODE_ALIGN = 8
const nodeBytes = ({ data }: SetupDataNode): number =>
  Math.ceil((SetupData.size + data.length) / NODE_ALIGN) * NODE_ALIGN

/** Returns the size of the chain in bytes. */
export const setupDataBytes = (nodes: readonly SetupDataNode[]): number =>
  nodes.reduce((sum, node) => sum + nodeBytes(node), 0)

/** Returns the chain as it lies at `paddr`: each node names the next, the last one has no next. */
export function setupDataChain(nodes: readonly SetupDataNode[], paddr: Paddr): Uint8Array {
  const out = new Uint8Array(setupDataBytes(nodes))
  let at = 0
  nodes.forEach((node, i) => {
    const next = i === nodes.length - 1 ? 0n : BigInt(paddr + at + nodeBytes(node))
    out.set(SetupData.encode({ next, type: node.type, len: node.data.length }), at)
    out.set(node.data, at + SetupData.size)
    at += nodeBytes(node)
  })
  return out
}
