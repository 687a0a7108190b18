/**
 * BufferView: bytes with the methods of Node's Buffer that elfy and buffer-layout call, in every runtime.
 *
 * Source: https://nodejs.org/api/buffer.html
 * Gotcha: `slice` copies, like a Uint8Array's and unlike a Buffer's: give elfy only headers, which are small. Only the
 * modules that call the two packages make one.
 */
export class BufferView extends Uint8Array<ArrayBufferLike> {
  readonly #data = new DataView(this.buffer, this.byteOffset, this.byteLength)

  /** A view of the same memory. */
  static over(bytes: Uint8Array): BufferView {
    return new BufferView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  readUInt16LE(offset: number): number {
    return this.#data.getUint16(offset, true)
  }

  readUInt32LE(offset: number): number {
    return this.#data.getUint32(offset, true)
  }

  readBigUInt64LE(offset: number): bigint {
    return this.#data.getBigUint64(offset, true)
  }

  writeBigUInt64LE(value: bigint, offset: number): void {
    this.#data.setBigUint64(offset, value, true)
  }

  /** @param span 1, 2 or 4 bytes; no field here has another. */
  readUIntLE(offset: number, span: number): number {
    if (span === 4) return this.#data.getUint32(offset, true)
    return span === 2 ? this.#data.getUint16(offset, true) : this.#data.getUint8(offset)
  }

  writeUIntLE(value: number, offset: number, span: number): void {
    if (span === 4) this.#data.setUint32(offset, value, true)
    else if (span === 2) this.#data.setUint16(offset, value, true)
    else this.#data.setUint8(offset, value)
  }

  /** @param span 4 bytes; no signed field here has another. */
  readIntLE(offset: number, _span: number): number {
    return this.#data.getInt32(offset, true)
  }

  writeIntLE(value: number, offset: number, _span: number): void {
    this.#data.setInt32(offset, value, true)
  }
}
