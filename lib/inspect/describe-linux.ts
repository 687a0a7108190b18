/**
 * The content of a Linux setup header, as JSON and as text: fields by their C names, flags by the names of their bits.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: show only the fields that the header's protocol version has; everything in the header is a claim.
 */
import { CAN_USE_HEAP, KASLR_FLAG, KEEP_SEGMENTS, LOADED_HIGH, QUIET_FLAG, XLF } from '../abi/boot-params.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type BzImage, type SetupFields, showProtocol } from '../kernel/bzimage.js'
import type { ElfImage } from '../kernel/elf.js'
import { parseRelocs } from '../kernel/relocs.js'
import { splitPayload } from '../kernel/unwrap.js'
import { hex } from '../units.js'
import type { Json } from './json.js'
import { pairs } from './table.js'

export const LOADFLAGS = { LOADED_HIGH, KASLR_FLAG, QUIET_FLAG, KEEP_SEGMENTS, CAN_USE_HEAP } as const

/** Returns the names of the bits that are set; bits without a name as `bit N`. */
export function bitNames(word: number, names: Readonly<Record<string, number>>): string[] {
  const set: string[] = []
  for (let bit = 0; bit < 32; bit++) {
    if (((word >>> bit) & 1) === 0) continue
    set.push(Object.entries(names).find(([, value]) => value === 2 ** bit)?.[0] ?? `bit ${bit}`)
  }
  return set
}

const fields = (header: SetupFields): [string, string][] =>
  (Object.entries(header) as [string, number | bigint][]).map(([name, value]) => [name, hex(value)])

/** Returns the relocation table after the ELF of a payload: the number of places in each list, or the fault. */
function describeRelocs(elf: ElfImage): { readonly [key: string]: Json } | undefined {
  const { relocs } = splitPayload(elf)
  if (relocs === undefined) return undefined
  try {
    const { add32, subtract32, add64 } = parseRelocs(relocs, elf.class)
    return { bytes: relocs.length, add32: add32.length, subtract32: subtract32.length, add64: add64.length }
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    return { bytes: relocs.length, fault: error.message }
  }
}

/** Returns the setup header as JSON. */
export function describeLinux(linux: BzImage, elf: ElfImage | undefined): { readonly [key: string]: Json } {
  const { loadflags, xloadflags } = linux.header
  const relocs = elf === undefined ? undefined : describeRelocs(elf)
  return defined({
    protocol: showProtocol(linux.protocol),
    version: linux.version,
    setupBytes: linux.setupBytes,
    payload: linux.payload,
    header: Object.fromEntries(fields(linux.header)),
    loadflags: bitNames(loadflags, LOADFLAGS),
    xloadflags: xloadflags === undefined ? undefined : bitNames(xloadflags, XLF),
    relocs,
  })
}

/** Returns the setup header as text for people. */
export function linuxText(linux: BzImage, elf: ElfImage | undefined): string[] {
  const { loadflags, xloadflags } = linux.header
  const relocs = elf === undefined ? undefined : describeRelocs(elf)
  const list = (names: readonly string[]) => names.join(' ') || '-'
  const places = Object.entries(relocs ?? {}).map(([name, value]) => `${name} ${value}`)
  return [
    `linux    boot protocol ${showProtocol(linux.protocol)}${linux.version === undefined ? '' : `, ${linux.version}`}`,
    '',
    'setup header',
    ...pairs(fields(linux.header)),
    ...(linux.noCode ? ['by its syssize of 0, the header claims entries without code: only the setup code works'] : []),
    '',
    `loadflags ${list(bitNames(loadflags, LOADFLAGS))}`,
    ...(xloadflags === undefined ? [] : [`xloadflags ${list(bitNames(xloadflags, XLF))}`]),
    ...(relocs === undefined ? [] : [`relocation table ${places.join(', ')}`]),
  ]
}
