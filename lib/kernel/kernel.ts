/**
 * readKernel: detect the format, unwrap, parse. One call turns the bytes of any kernel file into a Kernel.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, the System V ABI, xen/include/public/elfnote.h.
 * Gotcha: a file name may be wrong (a vmlinux.bin may be a bzImage): only the content decides.
 */

import { toHex } from '../bytes.js'
import { type CodecName, sniffCodec } from '../codec/magic.js'
import { sliceEnds } from '../codec/source.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logKernel, logPayload } from '../log.js'
import { newSha256 } from '../sha256.js'
import { checkedInteger, hex, showSize } from '../units.js'
import { doSlices, type Part, type Slices, type WorkOptions } from '../work.js'
import { type BzImage, hasSetupHeader, parseBzImage, showProtocol } from './bzimage.js'
import { type ElfImage, isElf, parseElf } from './elf.js'
import { lookalike } from './lookalike.js'
import { type ElfNote, readNotes } from './notes.js'
import { decode } from './payload.js'
import { bzImageElf, type Decompress, decompressFile, type Parse, within } from './unwrap.js'
import { xenParams } from './xen-notes.js'
import type { XenParams } from './xen-params.js'

/** The claims of a kernel file. An absent value is undefined, never a magic number. */
export interface Kernel {
  /** The file's outermost format; a codec's name if the whole file is compressed. */
  readonly container: 'elf' | 'bzImage' | CodecName
  /** The codec of the ELF: of a bzImage's payload, or else of the file. */
  readonly codec?: CodecName
  /** sha256 of the given file, hex. */
  readonly sha256: string
  /** Absent if a bzImage holds no ELF (memtest86+, iPXE). */
  readonly elf?: ElfImage
  /** Every ELF note, Xen's and others', in the order of the file; empty without an ELF. */
  readonly notes: readonly ElfNote[]
  /** The claims of the Xen notes or the __xen_guest section; absent without either. */
  readonly xen?: XenParams
  /** The Linux setup header, and `bytes`, its bzImage: the file, or its content if the file is compressed. */
  readonly linux?: BzImage & { readonly bytes: Uint8Array }
}

/** The progress of readKernel; each step raises `done` to `total`. A compressed bzImage file is decompressed twice. */
export interface KernelPart extends Part {
  /** Hashing the file with sha256, or decompressing, which takes nearly all of the time. */
  readonly step: 'hash' | 'decompress'
}

/** Bounds, cancellation and progress of readKernel. */
export interface ReadKernelOptions extends WorkOptions<KernelPart> {
  /** The most bytes that a payload may decompress to, default 1 GiB. */
  readonly maxBytes?: number
}

const DEFAULT_MAX_BYTES = 2 ** 30
/** The largest buffer that every supported Node can hold, in bytes. */
const MAX_BYTES = 2 ** 32

/** Whether a file with this beginning may be a kernel. If not, readKernel() reads only the beginning. */
export const isKernelStart = (bytes: Uint8Array): boolean =>
  isElf(bytes) || hasSetupHeader(bytes) || sniffCodec(bytes) !== undefined

/**
 * Reads a kernel file. The result has views of `bytes`, which must not change afterwards. The work is done in slices of
 * a few milliseconds, so that timers, input and the signal are handled meanwhile.
 * @throws DomainBuilderError with the one cause, for every input that is not a valid kernel; the signal's reason.
 */
export async function readKernel(bytes: Uint8Array, options: ReadKernelOptions = {}): Promise<Kernel> {
  if (!(bytes instanceof Uint8Array)) {
    throw new DomainBuilderError('bad-config', 'the kernel is invalid', {
      expected: 'a Uint8Array',
      found: typeof bytes,
    })
  }
  const limit = checkedInteger(options.maxBytes ?? DEFAULT_MAX_BYTES, 'maxBytes', 1, MAX_BYTES)
  const decompress: Decompress = async (codec, stream, bounds) => {
    const decoded = await decode(codec, stream, { ...bounds, limit }, stepOptions('decompress', options))
    logPayload('%s: %s in, %s out', codec, showSize(stream.length), showSize(decoded.bytes.length))
    return decoded
  }
  const quietly = defined({ signal: options.signal })
  const parse: Parse = (elf) => doSlices(parseElf(elf), quietly)
  options.signal?.throwIfAborted()

  const codec = isElf(bytes) || hasSetupHeader(bytes) ? undefined : sniffCodec(bytes)
  const inner = codec === undefined ? bytes : await decompressFile(bytes, codec, decompress)
  const content = await readContent(inner, decompress, parse, codec)
  const wrapping = codec === undefined ? {} : { container: codec, codec: content.codec ?? codec }
  const { elf } = content
  if (elf === undefined) return { ...content, ...wrapping, sha256: await sha256(bytes, options), notes: [] }
  logKernel('ELF%d, e_machine %d, e_entry %s, %d segments', elf.class, elf.machine, hex(elf.entry), elf.segments.length)
  const read = async () => {
    const notes = await doSlices(readNotes(elf), quietly)
    const xen = xenParams(elf, notes)
    return defined({ notes, xen })
  }
  // Offsets count from the ELF, which is the file only if nothing wraps it.
  const said = await (elf.bytes === bytes ? read() : within('the ELF', read))
  return { ...content, ...wrapping, sha256: await sha256(bytes, options), ...said }
}

/** The options of one step. */
const stepOptions = (step: KernelPart['step'], { signal, onProgress }: ReadKernelOptions): WorkOptions =>
  defined({ signal, onProgress: onProgress && ((part: Part) => onProgress({ step, ...part })) })

/** Returns the origin of a guest's kernel. */
export const originOf = ({ container, sha256, codec }: Kernel) => defined({ container, sha256, codec })

type Content = Pick<Kernel, 'container' | 'codec' | 'elf' | 'linux'>

/** Reads an ELF or a bzImage; a refusal of other content names its likely format. */
async function readContent(
  bytes: Uint8Array,
  decompress: Decompress,
  parse: Parse,
  wrapped: CodecName | undefined,
): Promise<Content> {
  const inside = async <T>(act: () => T | Promise<T>): Promise<T> =>
    wrapped === undefined ? act() : within(`the ${wrapped} file`, act)
  if (isElf(bytes)) return { container: 'elf', elf: await inside(() => parse(bytes)) }
  if (hasSetupHeader(bytes)) {
    const image = await inside(() => parseBzImage(bytes))
    logKernel('bzImage, protocol %s, %s', showProtocol(image.protocol), image.version ?? 'no version text')
    return { container: 'bzImage', ...(await bzImageElf(bytes, image, decompress, parse)), linux: { ...image, bytes } }
  }
  const nested = wrapped === undefined ? undefined : sniffCodec(bytes)
  const found = nested === undefined ? lookalike(bytes) : `another ${nested} stream`
  const file = wrapped === undefined ? 'the file' : `the ${wrapped} file`
  throw new DomainBuilderError('not-a-kernel', `${file} is not a kernel`, {
    expected: 'an ELF or a Linux bzImage',
    found,
  })
}

async function sha256(bytes: Uint8Array, options: ReadKernelOptions): Promise<string> {
  const hash = newSha256()
  let done = 0
  const slices = function* (): Slices<string> {
    for (const end of sliceEnds(0, bytes.length)) {
      hash.update(bytes.subarray(done, end))
      done = end
      yield
    }
    return toHex(hash.digest())
  }
  return doSlices(slices(), stepOptions('hash', options), bytes.length, () => done)
}
