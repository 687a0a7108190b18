/**
 * The head of libvirt's save file: what comes before the stream.
 *
 * Source: ../abi/libvirt-save.ts.
 * Gotcha: the XML ends where the cookie begins, or else at its NUL: virsh save-image-edit leaves old bytes after it.
 */
import {
  LIBVIRT_COMPRESSION,
  LIBVIRT_MAGIC,
  LIBVIRT_PARTIAL,
  LIBVIRT_VERSIONS,
  LibvirtHeader,
} from '../abi/libvirt-save.js'
import { decodeLatin1, decodeUtf8 } from '../bytes.js'
import type { CodecName } from '../codec/magic.js'
import { DomainBuilderError } from '../errors.js'
import type { ByteSource } from './byte-source.js'
import { startOf } from './format.js'
import { readBytes } from './records.js'

/** Far above any XML of libvirt, which has a few KiB and 64 KiB of zeros. */
const HEAD_MAX = 16 << 20

interface LibvirtHead {
  /** libvirt's description of the guest. */
  readonly xml: string
  /** The compression of the stream. */
  readonly codec: CodecName | undefined
  /** File offset of the stream. */
  readonly body: number
}

/** Returns whether a file is a save file of libvirt, finished or not. */
export function isLibvirtSave(source: ByteSource): boolean {
  const magic = decodeLatin1(startOf(source, LIBVIRT_MAGIC.length))
  return magic === LIBVIRT_MAGIC || magic === LIBVIRT_PARTIAL
}

/** @throws DomainBuilderError `bad-snapshot` or `truncated` with an offset; `unknown-format` for a later version. */
export function readLibvirtHead(source: ByteSource): LibvirtHead {
  const header = LibvirtHeader.decode(readBytes(source, 0, LibvirtHeader.size, "libvirt's header"))
  const { version, data_len, compressed, cookieOffset } = header
  if (decodeLatin1(header.magic) === LIBVIRT_PARTIAL)
    refuse('the file is incomplete', LIBVIRT_MAGIC, LIBVIRT_PARTIAL, 'magic')
  if (!LIBVIRT_VERSIONS.some((known) => known === version)) {
    refuse('the version is unknown', LIBVIRT_VERSIONS.join(' or '), `${version}`, 'version')
  }
  if (data_len === 0 || data_len > HEAD_MAX) {
    refuse('the length of the XML is invalid', `1 to ${HEAD_MAX}`, `${data_len}`, 'data_len')
  }
  if (cookieOffset > data_len)
    refuse('the cookie lies outside', `at most ${data_len}`, `${cookieOffset}`, 'cookieOffset')
  const program = version === 1 ? 'raw' : LIBVIRT_COMPRESSION[compressed]
  if (program === undefined) {
    return refuse('the compression is unknown', LIBVIRT_COMPRESSION.join(', '), `${compressed}`, 'compressed')
  }
  const data = readBytes(source, LibvirtHeader.size, data_len, "libvirt's XML")
  const xml = data.subarray(0, cookieOffset || undefined)
  const end = xml.indexOf(0)
  return {
    xml: decodeUtf8(end < 0 ? xml : xml.subarray(0, end)),
    codec: program === 'raw' ? undefined : program === 'lzop' ? 'lzo' : program,
    body: LibvirtHeader.size + data_len,
  }
}

function refuse(what: string, expected: string, found: string, field: string): never {
  const offset = LibvirtHeader.offsetOf(field)
  throw new DomainBuilderError('bad-snapshot', `libvirt: ${what}`, { expected, found, offset })
}
