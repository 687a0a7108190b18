/**
 * openSnapshot: a guest out of a file, whichever format it is in.
 *
 * Source: the first bytes of each format; see the files beside this one.
 * Gotcha: a raw image has no magic of its own: it is opened by its sidecar, with openRaw.
 */
import { XL_MAGIC } from '../abi/save-stream.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { DECOMPRESSED_MAX, gunzip, PEEKED, peekGzip, sniffCompression } from './compressed.js'
import { openElfCore } from './elf-core.js'
import { isCore } from './elf-file.js'
import { isKexec, KEXEC_SNIFFED, openKexec } from './kexec.js'
import { type ByteSource, bytesSource } from './source.js'
import { isXenCore, openXenCore } from './xen-core.js'
import { isXl, openXl } from './xen-save.js'

/** Bytes by which a format is known. */
const SNIFFED = Math.max(XL_MAGIC.length, KEXEC_SNIFFED)

/** The name of a file's format, or undefined when it is none of ours. */
export function sniffSnapshot(source: ByteSource): 'xl' | 'xen-core' | 'elf-core' | 'kexec' | undefined {
  const start = new Uint8Array(Math.min(source.size, SNIFFED))
  source.readInto(0, start)
  if (isXl(start)) return 'xl'
  if (isCore(start)) return isXenCore(source) ? 'xen-core' : 'elf-core'
  return isKexec(start) ? 'kexec' : undefined
}

function isGzip(source: ByteSource): boolean {
  const start = new Uint8Array(Math.min(source.size, PEEKED))
  source.readInto(0, start)
  return sniffCompression(start) === 'gzip' && sniffSnapshot(bytesSource(peekGzip(start))) !== undefined
}

function wholeOf(source: ByteSource): Uint8Array {
  if (source.size > DECOMPRESSED_MAX) {
    throw new DomainBuilderError('payload-too-large', 'gzip: the snapshot is too long', {
      expected: `at most ${DECOMPRESSED_MAX} bytes`,
      found: `${source.size}`,
      offset: 0,
    })
  }
  const bytes = new Uint8Array(source.size)
  source.readInto(0, bytes)
  return bytes
}

/**
 * Opens a snapshot, compressed by gzip or not; pages are read when somebody looks at them.
 * @throws DomainBuilderError `unknown-format`, or whatever the format's reader has to say of the file.
 */
export function openSnapshot(source: ByteSource): Domain {
  switch (sniffSnapshot(source)) {
    case 'xl':
      return openXl(source)
    case 'xen-core':
      return openXenCore(source)
    case 'elf-core':
      return openElfCore(source)
    case 'kexec':
      return openKexec(source)
    default:
      if (isGzip(source)) return openSnapshot(bytesSource(gunzip(wholeOf(source))))
      throw new DomainBuilderError('unknown-format', 'no snapshot that we know', {
        expected: 'a save file of xl, a core of xl dump-core, an ELF core, or kexec segments',
        found: `${source.size} bytes of something else`,
        offset: 0,
      })
  }
}
