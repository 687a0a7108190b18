/**
 * readKernel: sniff, unwrap, parse. One call from the bytes of any kernel file to what it says.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, the System V ABI, xen/include/public/elfnote.h.
 * Gotcha: names lie (a vmlinux.bin may be a bzImage): only the content decides.
 */

import { toHex } from '../bytes.js'
import { type CodecName, sniffCodec } from '../codec/magic.js'
import { sliceEnds } from '../codec/source.js'
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
import { type XenParams, xenParams } from './xen-params.js'

/** What a kernel file says. Absent is undefined, never a magic number. */
export interface Kernel {
  /** The outermost thing the file is; a codec's name where the whole file is compressed. */
  readonly container: 'elf' | 'bzImage' | CodecName
  /** How the ELF was compressed: the payload of a bzImage, or else the file. */
  readonly codec?: CodecName
  /** sha256 of the file as it was given, hex. */
  readonly sha256: string
  /** Absent where a bzImage holds no ELF (memtest86+, iPXE). */
  readonly elf?: ElfImage
  /** Every ELF note, Xen's and others', in the order of the file; empty without an ELF. */
  readonly notes: readonly ElfNote[]
  /** What the Xen notes or the __xen_guest section say; absent where there are neither. */
  readonly xen?: XenParams
  /** The Linux setup header, and `bytes`, the bzImage it is in: the file, unless that is compressed around it. */
  readonly linux?: BzImage & { readonly bytes: Uint8Array }
}

/** How far readKernel is: in each step `done` rises to `total`. A bzImage in a compressed file is decompressed twice. */
export interface KernelPart extends Part {
  /** The file's sha256 is taken, or something is decompressed, which is nearly all of the time. */
  readonly step: 'hash' | 'decompress'
}

/** Bounds, cancellation and progress of readKernel. */
export interface ReadKernelOptions extends WorkOptions<KernelPart> {
  /** Most bytes that a payload may decompress to, default 1 GiB. */
  readonly maxBytes?: number
}

const DEFAULT_MAX_BYTES = 2 ** 30
/** More than this no buffer holds on every supported Node. */
const MAX_BYTES = 2 ** 32

/** Whether a file that begins so may be a kernel. Of any other, readKernel() looks at the beginning alone. */
export const isKernelStart = (bytes: Uint8Array): boolean =>
  isElf(bytes) || hasSetupHeader(bytes) || sniffCodec(bytes) !== undefined

/**
 * What a kernel file says. The result looks into `bytes`, which must not change afterwards. The work is done in slices of
 * a few milliseconds, so that timers, input and the signal are heard meanwhile.
 * @throws DomainBuilderError naming the one cause, for every input that is no sound kernel; the signal's reason.
 */
export async function readKernel(bytes: Uint8Array, options: ReadKernelOptions = {}): Promise<Kernel> {
  if (!(bytes instanceof Uint8Array)) {
    throw new DomainBuilderError('bad-config', 'a kernel is given as bytes', {
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
  const quietly = options.signal === undefined ? {} : { signal: options.signal }
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
    return { notes, ...(xen === undefined ? {} : { xen }) }
  }
  // Offsets count from the ELF, which is only the file where nothing is around it.
  const said = await (elf.bytes === bytes ? read() : within('the ELF', read))
  return { ...content, ...wrapping, sha256: await sha256(bytes, options), ...said }
}

/** The options of one step. */
const stepOptions = (step: KernelPart['step'], { signal, onProgress }: ReadKernelOptions): WorkOptions => ({
  ...(signal === undefined ? {} : { signal }),
  ...(onProgress === undefined ? {} : { onProgress: (part: Part) => onProgress({ step, ...part }) }),
})

type Content = Pick<Kernel, 'container' | 'codec' | 'elf' | 'linux'>

/** An ELF or a bzImage; anything else is refused by what it looks like. */
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
  throw new DomainBuilderError('not-a-kernel', `the ${wrapped ?? ''} file is no kernel`.replace('  ', ' '), {
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
