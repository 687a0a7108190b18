/**
 * The AML that our DSDT needs: names, devices, packages and resources as bytes.
 *
 * Source: ACPI specification 6.5, 20.2 (encoding), 6.4 (resources) and 19.3.4 (EISA names)
 * (https://uefi.org/specs/ACPI/6.5/20_AML_Specification.html).
 * Gotcha: a package length counts its own bytes, so its size must be known before it is computed.
 */

import { AML, RESOURCE } from '../abi/acpi.js'
import { encodeLatin1 } from '../bytes.js'

/** Encoded terms, one after another. */
type Aml = readonly number[]

const little = (value: number, size: number): Aml => Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff)

/** A package length of one byte holds 6 bits; a longer one 4 bits and then whole bytes. Two of them reach 1 MiB. */
function withLength(body: Aml): Aml {
  const short = body.length + 1
  if (short < 0x40) return [short, ...body]
  const extra = body.length + 2 < 2 ** 12 ? 1 : 2
  const length = body.length + 1 + extra
  return [(extra << 6) | (length & 0xf), ...little(length >>> 4, extra), ...body]
}

/** A name of four letters, after `\` if it counts from the root. */
const nameString = (text: string): Aml => [...encodeLatin1(text)]

export function integer(value: number): Aml {
  if (value <= 1) return [value === 0 ? AML.ZERO : AML.ONE]
  if (value <= 0xff) return [AML.BYTE_PREFIX, value]
  return value <= 0xffff ? [AML.WORD_PREFIX, ...little(value, 2)] : [AML.DWORD_PREFIX, ...little(value, 4)]
}

/** An EISA id such as PNP0501 as a number: three letters of 5 bits and four hex digits, big-endian. */
export function eisaId(text: string): Aml {
  const [a = 0, b = 0, c = 0] = encodeLatin1(text)
  const letters = ((a & 0x1f) << 10) | ((b & 0x1f) << 5) | (c & 0x1f)
  const product = Number.parseInt(text.slice(3), 16)
  return [AML.DWORD_PREFIX, letters >> 8, letters & 0xff, product >> 8, product & 0xff]
}

export const name = (what: string, value: Aml): Aml => [AML.NAME, ...nameString(what), ...value]
export const scope = (path: string, ...terms: readonly Aml[]): Aml => [
  AML.SCOPE,
  ...withLength([...nameString(path), ...terms.flat()]),
]
export const device = (what: string, ...terms: readonly Aml[]): Aml => [
  AML.EXT_PREFIX,
  AML.EXT_DEVICE,
  ...withLength([...nameString(what), ...terms.flat()]),
]
export const aPackage = (...elements: readonly Aml[]): Aml => [
  AML.PACKAGE,
  ...withLength([elements.length, ...elements.flat()]),
]

/** A resource template: descriptors and an end tag in a buffer. */
export function resources(...descriptors: readonly Aml[]): Aml {
  const body = [...descriptors.flat(), RESOURCE.END_TAG, 0]
  return [AML.BUFFER, ...withLength([...integer(body.length), ...body])]
}

/** A fixed range of ports. */
export const ports = (base: number, count: number): Aml => [
  RESOURCE.IO_PORT,
  RESOURCE.DECODE_16,
  ...little(base, 2),
  ...little(base, 2),
  1,
  count,
]

/** One interrupt: edge triggered, active high, not shared. */
export const edgeInterrupt = (gsi: number): Aml => [
  RESOURCE.EXTENDED_INTERRUPT,
  ...little(6, 2),
  RESOURCE.INTERRUPT_CONSUMER | RESOURCE.INTERRUPT_EDGE,
  1,
  ...little(gsi, 4),
]
