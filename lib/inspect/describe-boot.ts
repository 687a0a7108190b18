/**
 * describeBoot: the boot information of a guest of any kind, as JSON and as text for people.
 *
 * Source: xen/include/public/xen.h (start_info); Linux Documentation/arch/x86/zero-page.rst (boot_params);
 * describe-pvh.ts has PVH's, and describe-hvm.ts has an HVM guest's.
 * Gotcha: fields are read from the guest's memory, so they show the values that the guest will find.
 */
import type { SetupHeaderFields } from '../abi/boot-params.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { readBootParams, readCommandLine } from '../guest/boot-params.js'
import type { Domain, LinuxBoot } from '../guest/domain.js'
import { readStartInfo } from '../guest/start-info.js'
import { pagingLevels, topTable } from '../guest/translate.js'
import { inRealMode } from '../guest/vcpu.js'
import { hex } from '../units.js'
import { describeHvmParams, hvmParamsText } from './describe-hvm.js'
import { describePvh, pvhText } from './describe-pvh.js'
import type { Json } from './json.js'
import { memoryMapText } from './memory-map-text.js'
import { pairs } from './table.js'

/** Returns start_info or boot_params where the guest has them, and the page tables where paging is on. */
export function describeBoot(domain: Domain): { readonly [key: string]: Json } {
  const { boot } = domain
  if (boot.kind === 'hvm_start_info') return describePvh(domain, boot)
  if (boot.kind === 'firmware') return { hvmParams: describeHvmParams(boot.hvmParams) }
  const { startInfo, pageTables } = boot
  const fields = () =>
    Object.entries(readStartInfo(domain)).map(([name, value]) => [name, typeof value === 'string' ? value : hex(value)])
  return defined({
    bootParams: boot.kind === 'boot_params' ? describeBootParams(domain, boot) : undefined,
    startInfo: startInfo && { pfn: startInfo.pfn, vaddr: hex(startInfo.vaddr), ...Object.fromEntries(fields()) },
    pageTables: pageTables && { top: pageTables.top, pages: pageTables.pages },
  })
}

/** Returns the nonzero fields of the header, and the memory map. */
function describeBootParams(domain: Domain, boot: LinuxBoot): { readonly [key: string]: Json } {
  const params = readBootParams(domain)
  return {
    paddr: hex(boot.bootParams),
    ...defined({ realMode: startsInRealMode(domain) || undefined }),
    cmdline: readCommandLine(domain),
    hdr: Object.fromEntries(setFields(params.hdr).map(([name, value]) => [name, hex(value)])),
    e820: params.e820_table
      .slice(0, params.e820_entries)
      .map(({ addr, size, type }) => ({ addr: hex(addr), size: hex(size), type: hex(type) })),
  }
}

/** In real mode only the header of boot_params exists yet, and the BIOS has the memory map. */
const startsInRealMode = ({ vcpus: [vcpu] }: Domain): boolean => vcpu !== undefined && inRealMode(vcpu)

const setFields = (hdr: SetupHeaderFields): [string, number | bigint][] =>
  Object.entries(hdr).filter(([, value]) => BigInt(value) !== 0n)

/** Returns the boot information as text for people. */
export function bootText(domain: Domain): string[] {
  const digits = domain.abi === 'x86_64' ? 16 : 8
  const { boot } = domain
  if (boot.kind === 'hvm_start_info') return [...pvhText(domain, boot), pagingText(domain)]
  if (boot.kind === 'firmware') return [...hvmParamsText(boot.hvmParams), pagingText(domain)]
  const lines = boot.kind === 'boot_params' ? bootParamsText(domain, boot) : []
  if (boot.startInfo) {
    const fields = Object.entries(readStartInfo(domain)).map(([name, value]): [string, string] => [
      name,
      typeof value === 'string' ? JSON.stringify(value) : hex(value),
    ])
    const { pfn, vaddr } = boot.startInfo
    lines.push(`start_info at pfn ${hex(pfn)}, ${hex(vaddr, digits)}`, ...pairs(fields), '')
  }
  const { pageTables: tables } = boot
  lines.push(tables ? `page tables  ${tables.pages} pages, top at pfn ${hex(tables.top)}` : 'paging is off')
  return lines
}

/** Returns the paging state from vcpu 0's registers, where no boot information has it. */
function pagingText(domain: Domain): string {
  try {
    const levels = pagingLevels(domain)
    return levels === 0 ? 'paging is off' : `page tables  ${levels} levels, top at pfn ${hex(topTable(domain))}`
  } catch (error) {
    if (error instanceof DomainBuilderError) return error.message
    throw error
  }
}

function bootParamsText(domain: Domain, boot: LinuxBoot): string[] {
  const params = readBootParams(domain)
  const realMode = startsInRealMode(domain)
  return [
    realMode
      ? `setup code at ${hex(boot.bootParams)}, entered in real mode; its header`
      : `boot_params at ${hex(boot.bootParams)}`,
    ...pairs([
      ...setFields(params.hdr).map(([name, value]): [string, string] => [name, hex(value)]),
      ['command line', JSON.stringify(readCommandLine(domain))],
    ]),
    '',
    ...(realMode
      ? ['the memory map comes from the BIOS']
      : memoryMapText(params.e820_table.slice(0, params.e820_entries))),
  ]
}
