/**
 * gzip, by node:zlib: every member, as one.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; https://nodejs.org/api/zlib.html.
 * Gotcha: zlib.gunzip gathers chunks and then joins them, which holds the output twice; so the chunks go straight into
 * memory that grows in place.
 */
import { zlib } from '../lazy.js'
import { GrowingBytes } from './growing-bytes.js'
import { type Bounds, type Decoded, Source } from './source.js'

const CHUNK = 2 ** 17

export async function decodeGzip(bytes: Uint8Array, bounds: Bounds): Promise<Decoded> {
  const source: Source = new Source('gzip', bytes, bounds)
  const output = new GrowingBytes(source)
  const stream = zlib().createGunzip({ chunkSize: CHUNK })
  stream.end(bytes)
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) output.append(chunk)
  } catch (error) {
    source.failed(error, stream.bytesWritten)
  }
  return { bytes: output.bytes(), consumed: stream.bytesWritten }
}
