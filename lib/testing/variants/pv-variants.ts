/**
 * Variants of a PV guest.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout" and start_info.
 * Gotcha: frames of the machine come in any order. Only the p2m list says which frame a page has.
 */
import { MAX_GUEST_CMDLINE } from '../../abi/start-info.js'
import { GENERAL_REGISTERS } from '../../guest/vcpu.js'
import type { Kernel } from '../../kernel/kernel.js'
import { buildDomain } from '../../protocol/build.js'
import type { PvConfig } from '../../protocol/pv-config.js'
import { pfnOf } from '../../units.js'
import { commonVariants, hasModules } from './common-variants.js'
import { having, patternRegisters, type VariantRule, withPattern, withRegisters } from './variant.js'

const XEN_H = 'Xen public/xen.h'
const LAYOUT = `${XEN_H}, "Start-of-day memory layout"`
/** Far above the frames of any small guest, and below the largest. */
const FIRST_MFN = 0x123456
/** The hole in a guest with holes: the last quarter of its memory lies after it. */
const HOLE_BYTES = 64 * 2 ** 20
/** Port numbers of event channels, and domains, unlike the usual ones. */
const CHANNELS = { storeEvtchn: 61, consoleEvtchn: 17, storeDomid: 5, consoleDomid: 6 } as const

const isDomU = ({ dom0 }: PvConfig): boolean => dom0 === undefined
/** A restored guest always has its ramdisk mapped. */
const mayBeUnmapped = (config: PvConfig, { xen }: Kernel): boolean => hasModules(config) && xen?.modStartPfn === true

/** The variants of a PV guest. */
export const PV_VARIANTS: readonly VariantRule<PvConfig>[] = [
  {
    name: 'p2m-offset',
    rule: 'The machine frame of a page is not its number.',
    source: `${XEN_H}, mfn_list of start_info`,
    make: having({ p2m: { offset: FIRST_MFN } }),
  },
  {
    name: 'p2m-scattered',
    rule: 'The frames of neighbouring pages are not neighbours.',
    source: `${XEN_H}, mfn_list of start_info`,
    make: (kernel, config) => {
      const pages = pfnOf(config.memory)
      // Backwards: the frame after a page's is that of the page before.
      const p2m = { function: (pfn: number) => FIRST_MFN + pages - 1 - pfn, name: 'backwards' }
      return buildDomain(kernel, { ...config, p2m, sharedInfoMfn: FIRST_MFN + pages })
    },
  },
  {
    name: 'holes',
    rule: 'Not every page exists: a missing one has no frame in the list.',
    source: `${XEN_H}, mfn_list of start_info`,
    differs: ({ vmemranges }) => vmemranges === undefined,
    make: (kernel, config) => {
      const low = config.memory - Math.floor(config.memory / 4 / 4096) * 4096
      const vmemranges = [
        { start: 0, end: low },
        { start: low + HOLE_BYTES, end: config.memory + HOLE_BYTES },
      ]
      return buildDomain(kernel, { ...config, vmemranges })
    },
  },
  {
    name: 'channels',
    rule: 'The event channels of console and xenstore, and the domains that serve them, have any number.',
    source: `${XEN_H}, start_info`,
    differs: isDomU,
    make: having(CHANNELS),
  },
  {
    name: 'shared-info-elsewhere',
    rule: 'shared_info is a machine address, and no page of the guest.',
    source: `${XEN_H}, shared_info of start_info`,
    make: having({ sharedInfoMfn: FIRST_MFN * 2 }),
  },
  {
    name: 'ramdisk-in-modules',
    rule: 'With SIF_MULTIBOOT_MOD, mod_start leads to a list of modules.',
    source: `${XEN_H}, SIF_MULTIBOOT_MOD`,
    differs: (config) => hasModules(config) && config.multibootModules !== true,
    make: having({ multibootModules: true }),
  },
  {
    name: 'ramdisk-mapped',
    rule: 'SIF_MOD_START_PFN says whether the ramdisk is mapped; a kernel that permits either is given either.',
    source: `${XEN_H}, SIF_MOD_START_PFN`,
    differs: (config, kernel) => mayBeUnmapped(config, kernel) && config.purpose !== 'restore',
    make: having({ purpose: 'restore' }),
  },
  {
    name: 'ramdisk-unmapped',
    rule: 'With SIF_MOD_START_PFN the ramdisk is not mapped, and mod_start is the number of its first page.',
    source: `${XEN_H}, SIF_MOD_START_PFN`,
    differs: (config, kernel) => mayBeUnmapped(config, kernel) && config.purpose === 'restore',
    make: having({ purpose: 'create' }),
  },
  {
    name: 'registers-pattern',
    rule: 'rsi points to start_info and rsp to the bootstrap stack; the other registers have any content.',
    source: LAYOUT,
    make: (kernel, config) => {
      const domain = buildDomain(kernel, config)
      const bits = domain.abi === 'x86_64' ? 64 : 32
      const has = bits === 64 ? GENERAL_REGISTERS : GENERAL_REGISTERS.slice(0, 8)
      const open = has.filter((name) => name !== 'rsi' && name !== 'rsp')
      return withRegisters(domain, patternRegisters(open, bits))
    },
  },
  {
    name: 'memory-pattern',
    rule: 'Memory that nothing was loaded into has any content.',
    source: LAYOUT,
    make: (kernel, config) => withPattern(buildDomain(kernel, config)),
  },
  ...commonVariants<PvConfig>(
    { memory: `${XEN_H}, nr_pages`, vcpus: XEN_H, cmdline: `${XEN_H}, cmd_line`, ramdisk: `${XEN_H}, mod_start` },
    () => MAX_GUEST_CMDLINE - 1,
  ),
]
