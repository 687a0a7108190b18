/**
 * The __xen_guest section: the comma-separated `KEY=value` string of kernels older than Xen's notes. PV only.
 *
 * Source: Xen 3.0's interface, as its users wrote it (XenLinux 2.6 head.S, Mini-os, NetBSD).
 * Gotcha: PADDR_OFFSET defaults to VIRT_BASE here, but to 0 with notes. An unknown !feature is no error, but everything
 * after it is ignored.
 */

import { XEN_GUEST_KEY_MAX, XEN_GUEST_SECTION, XEN_GUEST_VALUE_MAX } from '../abi/elfnote.js'
import { decodeLatin1 } from '../bytes.js'
import { PAGE_SHIFT, u64 } from '../units.js'
import type { ElfImage, Section } from './elf.js'
import { parseFeatures } from './feature-string.js'
import type { XenParamsDraft } from './xen-params.js'

/** The section, if the file has one and it lies within the file. */
export function guestSection(elf: ElfImage): Section | undefined {
  return elf.sections.find(({ name }) => name === XEN_GUEST_SECTION)
}

/** The most bytes of the string that are read; all keys that Xen knows fit many times. */
const STRING_MAX = 65536

/** Fills `params` from the string. Never refuses: an unreadable key counts as absent. */
export function readGuestString(elf: ElfImage, section: Section, params: XenParamsDraft): void {
  const raw = elf.bytes.subarray(section.offset, section.offset + Math.min(section.size, STRING_MAX))
  const text = decodeLatin1(raw)
  for (const { key, value } of entries(text.replace(/\0.*/s, ''))) {
    if (key === 'GUEST_OS') params.guestOs = value
    else if (key === 'GUEST_VER') params.guestVersion = value
    else if (key === 'XEN_VER') params.xenVersion = value
    else if (key === 'LOADER') params.loader = value
    else if (key === 'PAE') {
      if (value === 'yes[extended-cr3]') params.pae = 'extended-cr3'
      else if (value.startsWith('yes')) params.pae = 'yes'
    } else if (key === 'BSD_SYMTAB') params.bsdSymtab = true
    else if (key === 'VIRT_BASE') params.virtBase = parseNumber(value)
    else if (key === 'VIRT_ENTRY') params.entry = parseNumber(value)
    else if (key === 'ELF_PADDR_OFFSET') params.paddrOffset = parseNumber(value)
    else if (key === 'HYPERCALL_PAGE') params.hypercallPage = u64(parseNumber(value) << BigInt(PAGE_SHIFT))
    else if (key === 'FEATURES') {
      const features = parseFeatures(value)
      params.supported = (params.supported | features.supported) >>> 0
      params.required = (params.required | features.required) >>> 0
      if (features.unknownRequired !== undefined) break
    }
  }
  // A page number from the start of the kernel, if that is known.
  if (params.hypercallPage !== undefined && params.virtBase !== undefined) {
    params.hypercallPage = u64(params.hypercallPage + params.virtBase)
  }
}

/**
 * Yields keys and values, split as in Xen: a key or value that is too long ends at the limit, and the rest is read as
 * the next key. A key may have no value.
 */
function* entries(text: string): Generator<{ readonly key: string; readonly value: string }> {
  let at = 0
  const take = (max: number, stops: string): string => {
    const start = at
    while (at < text.length && at - start < max && !stops.includes(text.charAt(at))) at++
    return text.slice(start, at)
  }
  while (at < text.length) {
    let value = ''
    const start = at
    const key = take(XEN_GUEST_KEY_MAX, ',=')
    // A key of the full length ends there, before any next byte.
    const cut = at - start === XEN_GUEST_KEY_MAX
    const stop = cut ? '' : text.charAt(at)
    if (stop !== '') at++
    if (stop === '=') {
      const valueStart = at
      value = take(XEN_GUEST_VALUE_MAX, ',')
      if (at - valueStart < XEN_GUEST_VALUE_MAX && at < text.length) at++
    }
    yield { key, value }
  }
}

const U64_MAX = (1n << 64n) - 1n

/** C's strtoull with base 0: 0x for hex, a leading 0 for octal. Text after the digits is ignored; no digits mean 0. */
function parseNumber(text: string): bigint {
  const match = /^\s*([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)/i.exec(text)
  const digits = match?.[2]
  if (digits === undefined) return 0n
  const octal = /^0[0-7]+$/.test(digits)
  const value = BigInt(octal ? `0o${digits.slice(1)}` : digits)
  if (value > U64_MAX) return U64_MAX
  return match?.[1] === '-' ? u64(-value) : value
}
