/**
 * The FEATURES string: `writable_page_tables|!auto_translated_physmap`, with ! for a feature that the kernel requires.
 *
 * Source: xen/include/public/elfnote.h, XEN_ELFNOTE_FEATURES.
 * Gotcha: an unknown !name ends the reading: the names after it are ignored. An unknown name is only ignored itself.
 */
import { STRING_FEATURES, XENFEAT } from '../abi/features.js'

interface FeatureSet {
  /** Feature words; required is a subset of supported. */
  readonly supported: number
  readonly required: number
  /** The first unknown !name, without its !. */
  readonly unknownRequired?: string
}

/** Xen reads a name in pieces of this many bytes; it reads a longer one as several names. */
const NAME_MAX = 63

export function parseFeatures(text: string): FeatureSet {
  let supported = 0
  let required = 0
  for (const entry of text.split('|')) {
    for (let at = 0; at < entry.length; at += NAME_MAX) {
      const piece = entry.slice(at, at + NAME_MAX)
      const isRequired = piece.startsWith('!')
      const name = STRING_FEATURES.find((known) => known === (isRequired ? piece.slice(1) : piece))
      if (name === undefined) {
        if (isRequired) return { supported, required, unknownRequired: piece.slice(1) }
        continue
      }
      const bit = (1 << XENFEAT[name]) >>> 0
      supported = (supported | bit) >>> 0
      if (isRequired) required = (required | bit) >>> 0
    }
  }
  return { supported, required }
}
