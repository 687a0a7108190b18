/**
 * boot_params, the page that %esi or %rsi points to: the kernel's own setup header, and what a loader adds to it, each
 * field only where the header's version has it.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: everything that is not said stays zero, the sentinel too: Linux takes a page whose sentinel is set for one that
 * an old loader forgot to clear, and forgets half of it.
 */
import {
  BOOT_FLAG,
  BootE820Entry,
  BootParams,
  CAN_USE_HEAP,
  E820_MAX_ENTRIES_ZEROPAGE,
  HDRS_MAGIC,
  KEEP_SEGMENTS,
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
} from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import type { MapEntry } from '../guest/memory-map.js'
import { logBoot } from '../log.js'
import { hex, type Paddr } from '../units.js'
import type { SetupDataNode } from './linux-config.js'
import type { LinuxLoad } from './linux-image.js'

/** What the loader decided, and the header has a field for. */
export interface LoaderSays {
  readonly cmdline: Paddr
  /** For setup code. */
  readonly heapEndPtr: number
  readonly ramdisk?: { readonly start: Paddr; readonly bytes: number }
  /** The first node of the chain. */
  readonly setupData?: Paddr
  readonly subarch: number
  readonly subarchData: bigint
  /** The kernel must not load segment registers: its privilege level or its paging are not the protocol's. */
  readonly keepSegments: boolean
}

const low32 = (value: number): number => value % 2 ** 32
const high32 = (value: number): number => Math.floor(value / 2 ** 32)

/**
 * The page.
 * @param map what the kernel is told of its memory, as far as there is room for it.
 * @throws DomainBuilderError `does-not-fit` for what the header's version has no field for.
 */
export function bootParamsPage(load: LinuxLoad, says: LoaderSays, map: readonly MapEntry[]): Uint8Array {
  const page = new Uint8Array(BootParams.size)
  page.set(headerBytes(load), SETUP_HEADER_OFFSET)
  fillHeader(page, load, says)
  const view = new DataView(page.buffer)
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
 * Boot sector and setup code, with what a loader says to them in the header: the rest of boot_params they make themselves.
 * @throws DomainBuilderError as bootParamsPage() does.
 */
export function setupCode(load: LinuxLoad, says: LoaderSays): Uint8Array {
  const code = Uint8Array.from(load.setup?.bytes ?? [])
  fillHeader(code, load, says)
  return code
}

/** Fills in the loader's fields of a header at 0x1f1, and those before it where an old kernel finds its command line. */
function fillHeader(page: Uint8Array, load: LinuxLoad, says: LoaderSays): void {
  const version = load.setup?.header.protocol ?? PROTOCOL_NEWEST
  const view = new DataView(page.buffer)
  const flags = page[SETUP_HEADER_OFFSET + SetupHeader.offsetOf('loadflags')] ?? 0

  const header = new HeaderWriter(view, version)
  header.set('type_of_loader', LOADER_TYPE_UNDEFINED)
  const heap = version >= PROTOCOL_HEAP ? CAN_USE_HEAP : 0
  header.set('loadflags', flags | heap | (says.keepSegments ? KEEP_SEGMENTS : 0))
  header.set('heap_end_ptr', says.heapEndPtr)
  if (load.code32Start !== undefined && load.code32Start <= 0xffffffff) header.set('code32_start', load.code32Start)
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

/** The header as the file has it, up to where its own jump says that it ends; for an ELF alone, the least that is one. */
function headerBytes({ setup }: LinuxLoad): Uint8Array {
  if (setup === undefined) {
    return SetupHeader.encode({
      ...SetupHeader.decode(new Uint8Array(SetupHeader.size)),
      boot_flag: BOOT_FLAG,
      header: HDRS_MAGIC,
      version: PROTOCOL_NEWEST,
      loadflags: LOADED_HIGH,
    })
  }
  const jump = setup.bytes[SETUP_JUMP_END - 1] ?? 0
  const end = Math.min(SETUP_JUMP_END + jump, SETUP_HEADER_OFFSET + SETUP_HEADER_MAX)
  return setup.bytes.subarray(SETUP_HEADER_OFFSET, end)
}

/** cmd_line_ptr, or what was before it. */
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

  /** Nothing happens where the version has no such field: its bytes are the kernel's code. */
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

  /** For what was asked for: a kernel that cannot be told is refused. */
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

/** What the caller gave, and the part of the memory map that boot_params has no room for. */
export function setupDataNodes(given: readonly SetupDataNode[], map: readonly MapEntry[]): readonly SetupDataNode[] {
  const rest = map.slice(E820_MAX_ENTRIES_ZEROPAGE)
  if (rest.length === 0) return given
  return [{ type: SETUP_DATA_TYPE.SETUP_E820_EXT, data: encodeMap(rest) }, ...given]
}

/** Nodes are eight-byte aligned, so that their links are. */
const NODE_ALIGN = 8
const nodeBytes = ({ data }: SetupDataNode): number =>
  Math.ceil((SetupData.size + data.length) / NODE_ALIGN) * NODE_ALIGN

/** Bytes that the chain takes. */
export const setupDataBytes = (nodes: readonly SetupDataNode[]): number =>
  nodes.reduce((sum, node) => sum + nodeBytes(node), 0)

/** The chain as it lies at `paddr`: each node names the next, the last one none. */
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
