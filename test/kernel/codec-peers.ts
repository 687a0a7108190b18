/**
 * The formats' own commands, for comparison with decode().
 *
 * Source: their manual pages; Linux scripts/Makefile.lib and scripts/xz_wrap.sh for how kernels are compressed.
 * Gotcha: a file's name or time would change the stream, so none of them gets either.
 */
import { execFileSync } from 'node:child_process'
import type { CodecName } from '../../lib/codec/magic.js'

export interface Peer {
  readonly command: string
  readonly from: string
  /** Arguments that compress stdin to stdout: the first as in Linux, the last the fastest. */
  readonly args: readonly (readonly string[])[]
  /** Whether the format has a checksum over its whole content. */
  readonly isChecked: boolean
  /** Whether concatenated streams are one stream. */
  readonly joins: boolean
}
export const PEERS: Readonly<Record<CodecName, Peer>> = {
  gzip: { command: 'gzip', from: 'gzip', args: [['-n9'], ['-1']], isChecked: true, joins: true },
  bzip2: { command: 'bzip2', from: 'bzip2', args: [['-9'], ['-1']], isChecked: true, joins: true },
  lzma: {
    command: 'xz',
    from: 'xz-utils',
    args: [
      ['--format=lzma', '-9'],
      ['--format=lzma', '-0'],
    ],
    isChecked: false,
    joins: false,
  },
  lz4: {
    command: 'lz4',
    from: 'lz4',
    args: [
      ['-l', '-9', '-c'],
      ['-l', '-1', '-c'],
    ],
    isChecked: false,
    joins: true,
  },
  lzo: {
    command: 'lzop',
    from: 'lzop',
    args: [['-9'], ['--crc32', '-7'], ['-F', '-3'], ['-1']],
    isChecked: true,
    joins: false,
  },
  xz: {
    command: 'xz',
    from: 'xz-utils',
    args: [
      ['--check=crc32', '--x86', '--lzma2=dict=32MiB'],
      ['--check=crc64', '--x86=start=4096', '--lzma2=lc=0,lp=3,pb=4'],
      ['--check=sha256', '--block-size=300000', '-T2'],
      ['--check=none', '--lzma2=lc=1,lp=2,pb=0'],
      ['-0'],
    ],
    isChecked: true,
    joins: true,
  },
  zstd: {
    command: 'zstd',
    from: 'zstd',
    args: [
      ['-19', '-c'],
      ['--no-check', '-c'],
      ['--ultra', '-22', '-c'],
      ['-1', '-c'],
    ],
    isChecked: true,
    joins: true,
  },
}

/** Returns the peer's stream of these bytes. */
export const compress = (codec: CodecName, bytes: Uint8Array, args = PEERS[codec].args[0] ?? []): Uint8Array => {
  const { command } = PEERS[codec]
  // A copy as a Uint8Array, since slice() of a Buffer is a view.
  return new Uint8Array(
    execFileSync(command, [...args], { input: bytes, maxBuffer: 2 ** 30, stdio: ['pipe', 'pipe', 'ignore'] }),
  )
}
