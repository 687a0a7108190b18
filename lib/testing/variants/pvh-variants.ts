/**
 * Variants of a PVH guest.
 *
 * Source: xen/include/public/arch-x86/hvm/start_info.h; Xen docs/misc/pvh.pandoc.
 * Gotcha: an absent part has address 0, and its count is 0. A kernel that follows the address reads what lies at 0.
 */
import { EFLAGS_RESERVED_1 } from '../../abi/x86.js'
import type { Domain, PvhBoot } from '../../guest/domain.js'
import { readHvmStartInfo } from '../../guest/hvm-start-info.js'
import type { Kernel } from '../../kernel/kernel.js'
import { buildDomain } from '../../protocol/build.js'
import { hvmStartInfo, type StartInfoContent, startInfoBytes } from '../../protocol/pvh-boot.js'
import type { PvhConfig } from '../../protocol/pvh-config.js'
import { alignDown, narrow, PAGE_SIZE, type Paddr, pagesFor, pfnOf } from '../../units.js'
import { commonVariants, hasModules } from './common-variants.js'
import { having, patternRegisters, type VariantRule, withMemory, withPattern, withRegisters } from './variant.js'

const START_INFO = 'Xen public/arch-x86/hvm/start_info.h'
const PVH = 'Xen docs/misc/pvh.pandoc'
/** Linux copies 2047 bytes of a command line; the protocol has no limit. */
const CMDLINE_BYTES = 2047
/** All flags that pvh.pandoc leaves open: CF, PF, AF, ZF, SF, DF, OF, IOPL, AC and ID. */
const OPEN_FLAGS = 0x243cd5
/** An address beyond 32 bits, and memory that has it. */
const HIGH = { address: 0x140000000, memory: 6 * 2 ** 30 } as const
const PARTS = 3

type Pvh = Domain<PvhBoot>

/** Returns the guest with other content of hvm_start_info, at the same place or another. */
function restated(domain: Pvh, change: (content: StartInfoContent) => StartInfoContent, place?: Place): Domain {
  const { paddr, fields, cmdline, modules, memmap } = readHvmStartInfo(domain)
  const content = change({
    version: fields.version === 0 ? 0 : 1,
    cmdline,
    modules: modules.map((module) => ({
      paddr: narrow(module.paddr, 'module'),
      size: narrow(module.size, 'module'),
      cmdline: module.cmdline,
    })),
    memmap: memmap.map(({ addr, size, type }) => ({ start: Number(addr), end: Number(addr + size), type })),
    rsdp: narrow(fields.rsdp_paddr, 'rsdp_paddr'),
  })
  const at = place?.(domain, startInfoBytes(content)) ?? paddr
  const changed = withMemory(domain, (memory) => memory.write(at, hvmStartInfo(content, at)))
  const regions = domain.regions.map((region) =>
    region.name === 'start_info' ? { ...region, pfn: pfnOf(at), pages: pagesFor(startInfoBytes(content)) } : region,
  )
  const moved: Pvh = { ...changed, regions, boot: { ...domain.boot, hvmStartInfo: at } }
  return withRegisters(moved, { rbx: BigInt(at) })
}

type Place = (domain: Domain, bytes: number) => Paddr

/** Returns the last free pages of the first range of RAM that is long enough, below 4 GiB. */
const highest: Place = ({ memory, regions }, bytes) => {
  const below = Math.min(memory.ranges.findLast(({ start }) => start < pfnOf(2 ** 32))?.end ?? 0, pfnOf(2 ** 32))
  const lowest = regions
    .filter(({ pfn }) => pfn < below)
    .reduce((first, { pfn, pages }) => (pfn + pages > first ? pfn : first), 0)
  const free = regions.every(({ pfn, pages }) => pfn + pages <= below - pagesFor(bytes) || pfn >= below)
  return (free ? below - pagesFor(bytes) : lowest - pagesFor(bytes)) * PAGE_SIZE
}

const built = (kernel: Kernel, config: PvhConfig): Pvh => buildDomain(kernel, config)

const restating =
  (change: (content: StartInfoContent) => StartInfoContent, place?: Place) =>
  (kernel: Kernel, config: PvhConfig): Domain =>
    restated(built(kernel, config), change, place)

/** Returns the guest with its first module beyond 32 bits. */
function highRamdisk(kernel: Kernel, config: PvhConfig): Domain {
  const domain = built(kernel, { ...config, memory: HIGH.memory, maxmem: HIGH.memory })
  const [first] = readHvmStartInfo(domain).modules
  if (first === undefined) return domain
  const bytes = domain.memory.read(Number(first.paddr), Number(first.size))
  const copied = withMemory(domain, (memory) => {
    memory.clear(Number(first.paddr), bytes.length)
    memory.write(HIGH.address, bytes)
  })
  const regions = copied.regions.map((region) =>
    region.name === 'ramdisk' ? { ...region, pfn: pfnOf(HIGH.address) } : region,
  )
  return restated({ ...copied, regions }, (content) => ({
    ...content,
    modules: content.modules.map((module, i) => (i === 0 ? { ...module, paddr: HIGH.address } : module)),
  }))
}

/** Each range of RAM in several entries. */
const split = ({ memmap, ...content }: StartInfoContent): StartInfoContent => ({
  ...content,
  memmap: memmap.flatMap(({ start, end, type }) => {
    const step = alignDown(Math.floor((end - start) / PARTS), PAGE_SIZE)
    if (step === 0) return [{ start, end, type }]
    return Array.from({ length: PARTS }, (_, i) => ({
      start: start + i * step,
      end: i === PARTS - 1 ? end : start + (i + 1) * step,
      type,
    }))
  }),
})

const isVersion1 = ({ startInfoVersion = 1 }: PvhConfig): boolean => startInfoVersion === 1

/** The variants of a PVH guest. */
export const PVH_VARIANTS: readonly VariantRule<PvhConfig>[] = [
  {
    name: 'version-0',
    rule: 'Version 0 of hvm_start_info ends before the memory map; a loader may write either version.',
    source: START_INFO,
    differs: isVersion1,
    make: having({ startInfoVersion: 0 }),
  },
  {
    name: 'no-memmap',
    rule: 'The memory map is optional, so memmap_entries must be checked before it is read.',
    source: START_INFO,
    differs: isVersion1,
    make: restating((content) => ({ ...content, memmap: [] })),
  },
  {
    name: 'memmap-unsorted',
    rule: 'The memory map has no order.',
    source: START_INFO,
    differs: isVersion1,
    make: restating((content) => ({ ...content, memmap: content.memmap.toReversed() })),
  },
  {
    name: 'memmap-split',
    rule: 'Neighbouring ranges of the memory map may have the same type.',
    source: START_INFO,
    differs: isVersion1,
    make: restating(split, highest),
  },
  {
    name: 'hole-at-0',
    rule: 'RAM begins where the memory map says; it promises no RAM at address 0.',
    source: START_INFO,
    differs: ({ reserve }) => reserve === undefined,
    make: having({ reserve: [{ start: 0, end: 0x10000 }] }),
  },
  {
    name: 'no-rsdp',
    rule: 'The RSDP is in start_info if it is present; ACPI tables belong to guests with hardware.',
    source: `${PVH}, "Hardware description"`,
    differs: ({ acpi }) => acpi !== 'none',
    make: having({ acpi: 'none' }),
  },
  {
    name: 'start-info-high',
    rule: 'ebx holds the address of start_info, which may lie at any place.',
    source: PVH,
    make: restating((content) => content, highest),
  },
  {
    name: 'modules-without-cmdline',
    rule: 'A module may have no command line: its cmdline_paddr is 0.',
    source: START_INFO,
    differs: hasModules,
    make: restating((content) => ({
      ...content,
      modules: content.modules.map((module) => ({ ...module, cmdline: '' })),
    })),
  },
  {
    name: 'modules-with-cmdline',
    rule: 'Each module may have a command line.',
    source: START_INFO,
    differs: hasModules,
    make: restating(
      (content) => ({
        ...content,
        modules: content.modules.map((module, i) => ({ ...module, cmdline: `module ${i}` })),
      }),
      highest,
    ),
  },
  {
    name: 'ramdisk-high',
    rule: 'The address of a module has 64 bits, and only Xen promises to stay below 4 GiB.',
    source: START_INFO,
    differs: hasModules,
    make: highRamdisk,
  },
  {
    name: 'registers-pattern',
    rule: 'All registers except ebx, and all flags except VM, IF and TF, are unspecified.',
    source: PVH,
    make: (kernel, config) =>
      withRegisters(built(kernel, config), {
        ...patternRegisters(['rax', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'], 32),
        rflags: BigInt(EFLAGS_RESERVED_1 | OPEN_FLAGS),
      }),
  },
  {
    name: 'memory-pattern',
    rule: 'Memory that nothing was loaded into has any content.',
    source: PVH,
    make: (kernel, config) => withPattern(built(kernel, config)),
  },
  ...commonVariants<PvhConfig>(
    { memory: START_INFO, vcpus: `${PVH}, "AP startup"`, cmdline: START_INFO, ramdisk: START_INFO },
    () => CMDLINE_BYTES,
  ),
  {
    name: 'modules-many',
    rule: 'nr_modules counts any number of modules.',
    source: START_INFO,
    make: having({
      ramdisk: Array.from({ length: 16 }, (_, i) => ({ bytes: new Uint8Array(i + 1), cmdline: `${i}` })),
    }),
  },
]
