/**
 * Whether Xen's own library could load the file as it is. It starts the kernel in any case, once that is extracted.
 *
 * Source: xen tools/libs/guest/xg_dom_bzimageloader.c and xc_dom_try_gunzip(); test/peer/xen-loader.test.ts runs it.
 * Gotcha: of the codecs, bzip2, lzma, lzo, xz and zstd are choices of Xen's build. Debian's has no bzip2 and no lzo.
 */
import type { CodecName } from '../codec/magic.js'
import type { Kernel } from './kernel.js'

/** The codec of a whole file that Xen decompresses. */
const XEN_FILE_CODEC = 'gzip'
/** The codecs of a payload that Xen's library lacks where its build did not find the codec's own library. */
const OPTIONAL_CODECS: readonly (CodecName | undefined)[] = ['bzip2', 'lzo']

/** Returns a remark for a kernel whose file Xen's library refuses; undefined for all others. */
export function xenLoaderRemark(kernel: Kernel): string | undefined {
  const cause = refusal(kernel)
  return cause && `Xen itself cannot load this file; extract it with xdb extract: ${cause}`
}

function refusal({ container, uki, linux, codec }: Kernel): string | undefined {
  if (uki !== undefined) return 'it is a unified kernel image'
  const isCompressed = container !== 'elf' && container !== 'bzImage'
  if (isCompressed && container !== XEN_FILE_CODEC) return `of compressed files, it takes only ${XEN_FILE_CODEC}`
  if (linux === undefined) return undefined
  if (linux.payload === undefined) return 'the setup header names no payload'
  return OPTIONAL_CODECS.includes(codec) ? `its library may be built without ${codec}, as Debian's is` : undefined
}
