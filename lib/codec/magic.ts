/**
 * The first bytes of each compression format.
 *
 * Source: Linux lib/decompress.c; each decoder names its own format's specification.
 * Gotcha: .lzma has no magic number and is only guessed: by the properties byte that every encoder writes (lc 3, lp 0,
 * pb 2), and a dictionary of at least 64 KiB.
 */

/** By name, as Linux names its options. */
export const CODEC_MAGIC = {
  gzip: [0x1f, 0x8b],
  bzip2: [0x42, 0x5a, 0x68],
  lzma: [0x5d, 0x00, 0x00],
  lz4: [0x02, 0x21, 0x4c, 0x18],
  lzo: [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a],
  xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
} as const satisfies Readonly<Record<string, readonly number[]>>

/** The compression formats of Linux kernels. */
export type CodecName = keyof typeof CODEC_MAGIC
export const CODEC_NAMES = Object.keys(CODEC_MAGIC) as readonly CodecName[]

/** The format whose magic number the bytes start with, or undefined. */
export function sniffCodec(bytes: Uint8Array): CodecName | undefined {
  return CODEC_NAMES.find((name) => CODEC_MAGIC[name].every((byte, index) => bytes[index] === byte))
}

/** The first four bytes of a format as a little-endian number. */
export function magicU32(name: CodecName): number {
  return new DataView(Uint8Array.from(CODEC_MAGIC[name]).buffer).getUint32(0, true)
}
