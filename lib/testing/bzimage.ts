/**
 * buildBzImage: puts a payload after a Linux setup header, like arch/x86/boot/tools/build.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: payload_length includes the u32 after the compressed stream. Omit it for gzip: its own trailer has the size.
 */
import {
  BOOT_FLAG,
  DEFAULT_SETUP_SECTS,
  HDRS_MAGIC,
  LOAD_HIGH_ADDRESS,
  LOADED_HIGH,
  SECTOR_SIZE,
  SETUP_HEADER_OFFSET,
  SETUP_JUMP_END,
  SETUP_JUMP_OPCODE,
  SetupHeader,
  type SetupHeaderFields,
  setupHeaderSize,
  XLF_KERNEL_64,
} from '../abi/boot-params.js'
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { alignUp } from '../units.js'

/** The parts of the bzImage to build; sizes and offsets are bytes. */
export interface BzImageSpec {
  /** A compressed ELF, an uncompressed one, or any other bytes. */
  readonly payload: Uint8Array
  /** The u32 that Linux's build appends to every stream except gzip's: the decompressed size. Default: none. */
  readonly sizeTrailer?: number
  /** Default 0x20f (2.15). Below 0x208 the header has no payload fields, and ends earlier. */
  readonly protocol?: number
  /** Sectors of setup code after the boot sector; default 3. 0 is written as 0 and means 4. */
  readonly setupSects?: number
  /** Bytes of protected-mode code before the payload; default 0x40. */
  readonly payloadOffset?: number
  /** Text that kernel_version points to; default none. */
  readonly version?: string
  /** Fields that override all of the above. */
  readonly header?: Partial<SetupHeaderFields>
  /** Bytes after the payload: the decompressor's code in a real file. */
  readonly trailing?: Uint8Array
}

/** Builds the file. @throws DomainBuilderError `bad-config` if the version text does not fit the setup sectors. */
export function buildBzImage(spec: BzImageSpec): Uint8Array {
  const { payload, protocol = 0x20f, setupSects = 3, payloadOffset = 0x40, trailing = new Uint8Array(0) } = spec
  const setupBytes = ((setupSects || DEFAULT_SETUP_SECTS) + 1) * SECTOR_SIZE
  const payloadLength = payload.length + (spec.sizeTrailer === undefined ? 0 : 4)
  const code = payloadOffset + payloadLength + trailing.length

  const headerBytes = setupHeaderSize(protocol)
  const headerEnd = SETUP_HEADER_OFFSET + headerBytes
  // After the longest header, so that no protocol version moves it.
  const versionAt = alignUp(SETUP_HEADER_OFFSET + SetupHeader.size, 0x80)
  const version = encodeUtf8(spec.version === undefined ? '' : `${spec.version}\0`)
  if (versionAt + version.length > setupBytes) {
    throw new DomainBuilderError('bad-config', 'the version text does not fit the setup sectors', {
      expected: `at most ${setupBytes - versionAt} bytes`,
      found: `${version.length}`,
    })
  }

  const header = SetupHeader.encode({
    ...SetupHeader.zero,
    setup_sects: setupSects,
    syssize: Math.ceil(code / 16),
    boot_flag: BOOT_FLAG,
    jump: SETUP_JUMP_OPCODE | ((headerEnd - SETUP_JUMP_END) << 8),
    header: HDRS_MAGIC,
    version: protocol,
    // Counted from 0x200, the second sector.
    kernel_version: version.length === 0 ? 0 : versionAt - SECTOR_SIZE,
    loadflags: LOADED_HIGH,
    code32_start: LOAD_HIGH_ADDRESS,
    initrd_addr_max: 0x7fffffff,
    kernel_alignment: 0x200000,
    relocatable_kernel: 1,
    min_alignment: 21,
    xloadflags: XLF_KERNEL_64,
    cmdline_size: 2047,
    payload_offset: payloadOffset,
    payload_length: payloadLength,
    pref_address: 0x1000000n,
    init_size: alignUp(code + 0x100000, 0x1000),
    ...spec.header,
  })

  const out = new Uint8Array(setupBytes + code)
  out.set(header.subarray(0, headerBytes), SETUP_HEADER_OFFSET)
  out.set(version, versionAt)
  out.set(payload, setupBytes + payloadOffset)
  if (spec.sizeTrailer !== undefined) {
    new DataView(out.buffer).setUint32(setupBytes + payloadOffset + payload.length, spec.sizeTrailer, true)
  }
  out.set(trailing, setupBytes + payloadOffset + payloadLength)
  return out
}
