/**
 * From a file to its ELF: a compressed file, a bzImage's payload, or an uncompressed ELF in a bzImage.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, payload_offset and payload_length; scripts/Makefile.lib, size_append.
 * Gotcha: the u32 after the compressed payload is its decompressed size, except with gzip, which has its own. It is
 * untrusted, so use it as a limit and never allocate by it.
 */

import { isZero } from '../bytes.js'
import { CODEC_NAMES, type CodecName, sniffCodec } from '../codec/magic.js'
import type { Bounds, Decoded } from '../codec/source.js'
import { defined } from '../defined.js'
import { DomainBuilderError, refusalOf } from '../errors.js'
import { hex } from '../units.js'
import type { BzImage } from './bzimage.js'
import { type ElfImage, isElf } from './elf.js'

/** An ELF, its damage, and the codec of its wrapping. */
interface Unwrapped {
  readonly elf: ElfImage
  readonly fault?: DomainBuilderError
  readonly codec?: CodecName
}

/** decode() within the caller's limit. */
export type Decompress = (codec: CodecName, stream: Uint8Array, bounds: Omit<Bounds, 'limit'>) => Promise<Decoded>
/** parseElf(), in slices. */
export type Parse = (bytes: Uint8Array) => Promise<ElfImage>

/** Bytes of the size that follows a payload. */
const SIZE_TRAILER = 4

/**
 * Returns the ELF in a bzImage; undefined if it has none, as in memtest86+ and iPXE.
 * @throws DomainBuilderError `payload-*` for a payload that does not decompress, `bad-elf` and others for its content.
 */
export async function bzImageElf(
  bytes: Uint8Array,
  image: BzImage,
  decompress: Decompress,
  parse: Parse,
): Promise<Unwrapped | undefined> {
  const { payload, setupBytes } = image
  const parseIn = async (where: string, part: Uint8Array) => {
    const elf = await within([where], () => parse(part))
    return { elf, ...defined({ fault: elf.fault && inContext([where], elf.fault) }) }
  }
  if (payload === undefined) {
    // A bzImage that is an ELF has headers after the setup code; their offsets count from the ELF header.
    const code = bytes.subarray(setupBytes)
    return isElf(code) ? parseIn('the ELF after the setup code', code) : undefined
  }
  const packed = bytes.subarray(payload.offset, payload.offset + payload.length)
  if (isElf(packed)) return parseIn('the payload', packed)
  const codec = sniffCodec(packed)
  if (codec === undefined) {
    throw new DomainBuilderError('payload-unknown', 'the format of the payload is unknown', {
      expected: `ELF, ${CODEC_NAMES.join(', ')}`,
      found: `bytes ${showBytes(packed.subarray(0, 6))}`,
      offset: payload.offset,
    })
  }
  const { stream, size } =
    codec === 'gzip' ? { stream: packed, size: undefined } : stripSize(packed, codec, payload.offset)
  const decoded = await decompress(codec, stream, defined({ offset: payload.offset, size }))
  return { codec, ...(await parseIn(`the ${codec} payload`, decoded.bytes)) }
}

function stripSize(packed: Uint8Array, codec: CodecName, offset: number) {
  const end = packed.length - SIZE_TRAILER
  if (end <= 0 || sniffCodec(packed.subarray(0, end)) !== codec) {
    throw new DomainBuilderError('truncated', `the ${codec} payload is too short`, {
      expected: `a stream and its size, a u32`,
      found: `${packed.length} bytes`,
      offset,
    })
  }
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  return { stream: packed.subarray(0, end), size: view.getUint32(end, true) }
}

/**
 * Decompresses a wholly compressed file.
 * @throws DomainBuilderError `payload-*`.
 */
export async function decompressFile(bytes: Uint8Array, codec: CodecName, decompress: Decompress): Promise<Uint8Array> {
  const decoded = await decompress(codec, bytes, { offset: 0 })
  if (!isZero(bytes.subarray(decoded.consumed))) {
    throw new DomainBuilderError('payload-damaged', `${codec}: the file has data after the compressed stream`, {
      expected: 'the end of the file',
      found: `${bytes.length - decoded.consumed} more bytes`,
      offset: decoded.consumed,
    })
  }
  return decoded.bytes
}

/**
 * Returns a payload's two parts, both views: the ELF, and the bytes after it, if any. In a Linux payload they are the
 * relocation table, which `parseRelocs` reads.
 */
export function splitPayload(elf: ElfImage): { readonly elf: Uint8Array; readonly relocs?: Uint8Array } {
  const image = elf.bytes.subarray(0, elf.end)
  return elf.end < elf.bytes.length ? { elf: image, relocs: elf.bytes.subarray(elf.end) } : { elf: image }
}

/** Adds to an error the parts that its offset counts from, outermost first, since that is not the start of the file. */
export function inContext(parts: readonly string[], error: DomainBuilderError): DomainBuilderError {
  if (parts.length === 0) return error
  const message = `in ${parts.join(', ')}: ${error.message.replace('(file offset', '(offset there')}`
  return new DomainBuilderError(error.code, message, { cause: error })
}

/** Adds the parts to the error that `act` throws, if it throws one. */
export async function within<T>(parts: readonly string[], act: () => T | Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw inContext(parts, refusalOf(error))
  }
}

const showBytes = (bytes: Uint8Array): string => Array.from(bytes, (byte) => hex(byte, 2).slice(2)).join(' ')
