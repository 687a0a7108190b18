/**
 * The boot information of a PVH guest, as JSON and as text: hvm_start_info, its lists, the ACPI tables.
 *
 * Source: xen/include/public/arch-x86/hvm/start_info.h; ACPI specification 6.5, chapter 5.
 * Gotcha: everything is read from the guest's memory, so it shows the values that the guest will find.
 */

import { type AcpiTable, readAcpi } from '../guest/acpi-reader.js'
import type { Domain, PvhBoot } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { append } from '../lists.js'
import { hex, showSize } from '../units.js'
import { describeHvmParams, hvmParamsText } from './describe-hvm.js'
import type { Json } from './json.js'
import { memoryMapText } from './memory-map-text.js'
import { pairs, table } from './table.js'

const tablesOf = (domain: Domain, rsdp: bigint): AcpiTable[] =>
  rsdp === 0n ? [] : readAcpi(domain.memory, Number(rsdp))

const hexed = (values: object): [string, Json][] =>
  Object.entries(values).map(([name, value]) => [name, typeof value === 'string' ? value : hex(value)])

export function describePvh(domain: Domain, boot: PvhBoot): { readonly [key: string]: Json } {
  const hvmParams = describeHvmParams(boot.hvmParams)
  if (boot.hvmStartInfo === undefined) return { hvmParams }
  const { paddr, fields, cmdline, modules, memmap } = readHvmStartInfo(domain)
  return {
    hvmStartInfo: {
      paddr: hex(paddr),
      ...Object.fromEntries(hexed(fields)),
      cmdline,
      modules: modules.map((module) => Object.fromEntries(hexed(module))),
      memmap: memmap.map(({ addr, size, type }) => ({ addr: hex(addr), size: hex(size), type: hex(type) })),
    },
    acpi: tablesOf(domain, fields.rsdp_paddr).map(({ signature, paddr: at, bytes, checksumOk }) => ({
      signature,
      paddr: hex(at),
      bytes: bytes.length,
      checksumOk,
    })),
    hvmParams,
  }
}

/** Returns the boot information as text for people; for a guest that has run, its parameters. */
export function pvhText(domain: Domain, boot: PvhBoot): string[] {
  return [...(boot.hvmStartInfo === undefined ? [] : startInfoText(domain)), ...hvmParamsText(boot.hvmParams)]
}

function startInfoText(domain: Domain): string[] {
  const { paddr, fields, cmdline, modules, memmap } = readHvmStartInfo(domain)
  const lines = [
    `hvm_start_info at ${hex(paddr)}`,
    ...pairs([
      ...Object.entries(fields).map(([name, value]): [string, string] => [name, hex(value)]),
      ['command line', JSON.stringify(cmdline)],
    ]),
    '',
  ]
  if (modules.length > 0) {
    const rows = modules.map((module) => [
      hex(module.paddr),
      showSize(Number(module.size)),
      module.cmdline === '' ? '-' : JSON.stringify(module.cmdline),
    ])
    append(lines, ['modules'], table(['>paddr', '>size', 'command line'], rows), [''])
  }
  if (memmap.length > 0) append(lines, memoryMapText(memmap))
  const tables = tablesOf(domain, fields.rsdp_paddr)
  if (tables.length > 0) {
    const rows = tables.map(({ signature, paddr: at, bytes, checksumOk }) => [
      signature.trim(),
      hex(at),
      String(bytes.length),
      checksumOk ? 'right' : 'wrong',
    ])
    append(lines, ['ACPI tables'], table(['table', '>paddr', '>bytes', 'checksum'], rows), [''])
  }
  return lines
}
