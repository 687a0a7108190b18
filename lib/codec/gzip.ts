/**
 * gzip, by node:zlib: every member, as one.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; https://nodejs.org/api/zlib.html.
 * Gotcha: zlib.gunzip gathers chunks and then joins them, which holds the output twice; so the chunks go straight into
 * memory that grows in place.
 */
import { stream as streams, zlib } from '../lazy.js'
import { GrowingBytes } from './growing-bytes.js'
import { type Bounds, type Decoded, type Pull, Source } from './source.js'

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

/**
 * A stream as it comes, in pieces that belong to whoever gets them.
 * @throws DomainBuilderError as decodeGzip() does.
 */
export async function* gzipPieces(pull: Pull, bounds: Bounds): AsyncGenerator<Uint8Array> {
  const source: Source = new Source('gzip', new Uint8Array(0), bounds)
  const stream = zlib().createGunzip({ chunkSize: CHUNK })
  // What goes wrong on the way in comes out of the stream as well.
  const { pipeline, Readable } = streams()
  pipeline(Readable.from(pulled(pull)), stream, () => {})
  let left = source.ceiling
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      left -= piece.length
      if (left < 0) source.tooLarge()
      yield piece
    }
  } catch (error) {
    source.failed(error, stream.bytesWritten)
  }
}

function* pulled(pull: Pull): Generator<Uint8Array> {
  for (;;) {
    const piece = new Uint8Array(CHUNK)
    const length = pull(piece)
    if (length === 0) return
    yield piece.subarray(0, length)
  }
}
