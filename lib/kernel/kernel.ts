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
import { DomainBuilderError, refusalOf } from '../errors.js'
import { logKernel, logPayload } from '../log.js'
import { newSha256 } from '../sha256.js'
import { checkedInteger, hex, showSize } from '../units.js'
import { doSlices, type Part, type Slices, type WorkOptions } from '../work.js'
import { type BzImage, hasSetupHeader, parseBzImage, showProtocol } from './bzimage.js'
import { type ElfImage, isElf, parseElf } from './elf.js'
import { lookalike } from './lookalike.js'
import { type ElfNote, readNotes, type UnreadableNotes } from './notes.js'
import { decode } from './payload.js'
import { type UkiSection, ukiKernel, ukiSections } from './uki.js'
import { bzImageElf, type Decompress, decompressFile, inContext, type Parse, within } from './unwrap.js'
import { xenParams } from './xen-notes.js'
import type { XenParams } from './xen-params.js'

/** The claims of a kernel file. An absent value is undefined, never a magic number. */
export interface Kernel {
  /** The file's outermost format; a codec's name if the whole file is compressed. */
  readonly container: 'elf' | 'bzImage' | 'uki' | CodecName
  /** The codec of the ELF: of a bzImage's payload, or else of the file. */
  readonly codec?: CodecName
  /** sha256 of the given file, hex. */
  readonly sha256: string
  /** The sections of a unified kernel image. Only its .linux section is read: its .cmdline and .initrd are ignored. */
  readonly uki?: readonly UkiSection[]
  /** Absent if a bzImage holds no ELF (memtest86+, iPXE), or a damaged one. */
  readonly elf?: ElfImage
  /** Every ELF note, Xen's and others', in the order of the file; empty without an ELF. */
  readonly notes: readonly ElfNote[]
  /** The places from which on notes cannot be read; empty in a sound file. */
  readonly unreadableNotes: readonly UnreadableNotes[]
  /** The claims of the Xen notes or the __xen_guest section; absent without either, and if they are invalid. */
  readonly xen?: XenParams
  /** The reason why the Xen notes are invalid: no PV or PVH guest can be built. */
  readonly xenFault?: DomainBuilderError
  /** The Linux setup header, and `bytes`, its bzImage: the file, or its content if the file is compressed. */
  readonly linux?: BzImage & { readonly bytes: Uint8Array }
  /** The damage in the file for which no guest can be built; the other members are what can be read nevertheless. */
  readonly fault?: DomainBuilderError
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
  isElf(bytes) || hasSetupHeader(bytes) || sniffCodec(bytes) !== undefined || ukiSections(bytes) !== undefined

/**
 * Reads a kernel file. The result has views of `bytes`, which must not change afterwards. The work is done in slices of
 * a few milliseconds, so that timers, input and the signal are handled meanwhile.
 *
 * A damaged kernel is returned with a `fault`, or a `xenFault`: buildDomain() throws it, and bootVerdicts() has it.
 * @throws DomainBuilderError with the one cause, for every input that is not a kernel or cannot be decompressed; the
 * signal's reason.
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
  const file = codec === undefined ? bytes : await decompressFile(bytes, codec, decompress)
  const context = codec === undefined ? [] : [`the ${codec} file`]
  const uki = isElf(file) || hasSetupHeader(file) ? undefined : ukiSections(file)
  const inner = uki === undefined ? file : ukiKernel(file, uki)
  if (uki !== undefined) context.push('the .linux section')
  const { fault, ...content } = await readContent(inner, decompress, parse, context)
  const wrapping = defined({ container: codec ?? (uki && ('uki' as const)), codec: content.codec ?? codec, uki })
  const { elf } = content
  const damage = defined({ fault })
  if (elf === undefined) {
    return { ...content, ...wrapping, sha256: await sha256(bytes, options), notes: [], unreadableNotes: [], ...damage }
  }
  logKernel('ELF%d, e_machine %d, e_entry %s, %d segments', elf.class, elf.machine, hex(elf.entry), elf.segments.length)
  const { notes, unreadable: unreadableNotes } = await doSlices(readNotes(elf), quietly)
  // Offsets count from the ELF, which is the file only if nothing wraps it.
  const claims = xenClaims(elf, notes, elf.bytes === bytes ? [] : ['the ELF'])
  return { ...content, ...wrapping, sha256: await sha256(bytes, options), notes, unreadableNotes, ...claims, ...damage }
}

/** Returns the claims of the Xen notes, or the reason why they are invalid. */
function xenClaims(elf: ElfImage, notes: readonly ElfNote[], context: readonly string[]) {
  try {
    return defined({ xen: xenParams(elf, notes) })
  } catch (error) {
    return { xenFault: inContext(context, refusalOf(error)) }
  }
}

/** The options of one step. */
const stepOptions = (step: KernelPart['step'], { signal, onProgress }: ReadKernelOptions): WorkOptions =>
  defined({ signal, onProgress: onProgress && ((part: Part) => onProgress({ step, ...part })) })

/** Returns the origin of a guest's kernel. */
export const originOf = ({ container, sha256, codec }: Kernel) => defined({ container, sha256, codec })

type Content = Pick<Kernel, 'container' | 'codec' | 'elf' | 'linux' | 'fault'>

/** Reads an ELF or a bzImage, as far as it is sound; a refusal of other content names its likely format. */
async function readContent(
  bytes: Uint8Array,
  decompress: Decompress,
  parse: Parse,
  context: readonly string[],
): Promise<Content> {
  if (isElf(bytes)) {
    const elf = await within(context, () => parse(bytes))
    return { container: 'elf', elf, ...defined({ fault: elf.fault && inContext(context, elf.fault) }) }
  }
  if (hasSetupHeader(bytes)) {
    const image = await within(context, () => parseBzImage(bytes))
    logKernel('bzImage, protocol %s, %s', showProtocol(image.protocol), image.version ?? 'no version text')
    const content = { container: 'bzImage', linux: { ...image, bytes } } as const
    if (image.fault !== undefined) return { ...content, fault: inContext(context, image.fault) }
    try {
      const { fault, ...inside } = (await bzImageElf(bytes, image, decompress, parse)) ?? {}
      return { ...content, ...inside, ...defined({ fault: fault && inContext(context, fault) }) }
    } catch (error) {
      const damage = refusalOf(error)
      // The limit is the caller's, so it is no damage.
      if (damage.code === 'payload-too-large') throw damage
      return { ...content, fault: inContext(context, damage) }
    }
  }
  const nested = context.length === 0 ? undefined : sniffCodec(bytes)
  const found = nested === undefined ? lookalike(bytes) : `another ${nested} stream`
  throw new DomainBuilderError('not-a-kernel', `${context.at(-1) ?? 'the file'} is not a kernel`, {
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
