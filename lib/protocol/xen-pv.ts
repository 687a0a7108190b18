/**
 * The Xen PV boot convention: Kernel + configuration -> Domain, everything placed, then filled in.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout"; docs/misc/x86-xenpv-bootloader.pandoc; every rule
 * confirmed byte for byte against libxenguest.
 * Gotcha: a segment is loaded at its p_paddr, and p_vaddr is ignored: the two may differ.
 */
import { type FeatureName, featureNames, XENFEAT } from '../abi/features.js'
import { GNTTAB_RESERVED } from '../abi/grant-table.js'
import {
  SIF_INITDOMAIN,
  SIF_MOD_START_PFN,
  SIF_MULTIBOOT_MOD,
  SIF_PRIVILEGED,
  SIF_VIRT_P2M_4TOOLS,
} from '../abi/start-info.js'
import { PAE_L3_MFN_END } from '../abi/xen-mmu.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, type GrantEntry, type PvBoot, pageTypes } from '../guest/domain.js'
import { hypercallPage } from '../guest/hypercall-page.js'
import { GuestMemory } from '../guest/memory.js'
import { fillP2mList, mfnOf, type P2m, withMoved } from '../guest/p2m.js'
import type { PageTables } from '../guest/page-tables.js'
import { presentFrames } from '../guest/pfn-view.js'
import type { Region } from '../guest/region.js'
import { type Kernel, originOf } from '../kernel/kernel.js'
import { type PvKernel, pvKernel } from '../kernel/pv-kernel.js'
import { hex, PAGE_SIZE, type Pfn, paddrOf, u64 } from '../units.js'
import { markConsole } from './console-page.js'
import { loadSegments } from './load-segments.js'
import { type LoadedModule, loadedModules, type ModuleRegion, multibootPackage, separateModules } from './modules.js'
import type { PvOptions } from './pv-config.js'
import { dom0ConsoleBlock, pvStartInfo, pvVcpus, sharedInfoPage } from './xen-pv-boot.js'
import { layOut, type PvLayout } from './xen-pv-layout.js'

/**
 * Builds a PV guest: everything is placed, nothing is copied, and computed parts are generated when they are read.
 * @throws DomainBuilderError when the kernel is not a PV kernel, or the guest cannot be laid out as asked.
 */
export function buildPv(kernel: Kernel, options: PvOptions): Domain<PvBoot> {
  const dom0 = options.dom0 !== undefined
  const pv = pvKernel(kernel, { dom0 })
  const memory = new GuestMemory(options.frames)
  const features = negotiate(pv, options.features)
  if (dom0) requireDom0(kernel, pv)
  const modules = options.multibootModules ? [multibootPackage(options.modules)] : separateModules(asLoaded(options))
  const layout = layOut(pv, memory, modules, { dom0, mapModules: options.purpose === 'restore' })
  const p2m = lowTop(pv, layout, presentFrames(options.p2m, memory), options.lowMfn)

  requireFrames(p2m, layout.regions)
  loadSegments(memory, pv, (paddr) => paddrOf(layout.kernel.pfn) + Number(paddr - pv.pstart))
  const hypercalls = hypercallPagePfn(memory, pv, p2m)
  if (hypercalls !== undefined && options.purpose !== 'create') {
    memory.place(paddrOf(hypercalls), hypercallPage(pv.abi))
  }
  layout.modules.forEach((region, i) => {
    for (const { offset, bytes } of (modules[i] as ModuleRegion).pieces)
      memory.place(paddrOf(region.pfn) + offset, bytes)
  })
  if (layout.console) markConsole(memory, layout.console.pfn, options.purpose, options.xen)
  generateP2m(memory, p2m, layout.p2m, pv.abi === 'x86_64' ? 8 : 4)
  generateTables(memory, p2m, layout.tables)

  const assignments = defined({
    storeEvtchn: options.storeEvtchn,
    consoleEvtchn: options.consoleEvtchn,
    sharedInfoMfn: options.sharedInfoMfn,
    flags: startFlags(options, layout),
    cmdline: options.cmdline,
    dom0Console: options.dom0 && dom0ConsoleBlock(options.dom0.console),
  })
  memory.write(paddrOf(layout.startInfo.pfn), pvStartInfo(pv, layout, memory, p2m, assignments))

  const { xenstore, console } = layout
  const boot: PvBoot = defined({
    kind: 'start_info',
    startInfo: { pfn: layout.startInfo.pfn, vaddr: layout.startInfo.vaddr },
    sharedInfo: sharedInfoPage(pv.abi),
    sharedInfoMfn: options.sharedInfoMfn,
    xenstore: xenstore && { pfn: xenstore.pfn, evtchn: options.storeEvtchn },
    console: console && { pfn: console.pfn, evtchn: options.consoleEvtchn },
    grants: grants(options, layout, p2m),
    pageTables: layout.tables.frames,
    features,
    hypercallPage: hypercalls,
  })
  return {
    type: 'pv',
    abi: pv.abi,
    name: options.name,
    memory,
    maxmem: options.maxmem,
    p2m,
    regions: layout.regions,
    vcpus: pvVcpus(pv, layout, p2m, options.vcpus),
    kernel: originOf(kernel),
    boot,
    pageType: pageTypes(boot),
  }
}

/** Returns the modules as their builder loads them: libxenguest, or Xen itself, which takes those of a dom0 as they are. */
function asLoaded({ modules, dom0, xen }: PvOptions): LoadedModule[] {
  return dom0 ? modules.map((module) => ({ ...module, length: module.bytes.length })) : loadedModules(modules, xen)
}

/** A kernel with a note of its supported features, without dom0 among them, cannot be dom0: Xen's rule. */
function requireDom0(kernel: Kernel, pv: PvKernel): void {
  const lists = kernel.notes.some(({ isXen, name }) => isXen && name === 'SUPPORTED_FEATURES')
  if (!lists || (pv.params.supported >>> XENFEAT.dom0) & 1) return
  throw new DomainBuilderError('unsupported-feature', 'the kernel cannot be dom0', {
    expected: 'dom0 in SUPPORTED_FEATURES',
    found: featureNames(pv.params.supported).join('|') || 'no feature',
  })
}

/** Returns start_info.flags: the caller's bits, and those of this build. */
function startFlags({ flags, dom0, multibootModules }: PvOptions, layout: PvLayout): number {
  const who = dom0 ? SIF_PRIVILEGED | SIF_INITDOMAIN : SIF_VIRT_P2M_4TOOLS
  const modules = (layout.modulesUnmapped ? SIF_MOD_START_PFN : 0) | (multibootModules ? SIF_MULTIBOOT_MOD : 0)
  return (flags | who | modules) >>> 0
}

/** The pages that backends map through the grant table. */
function grants({ consoleDomid, storeDomid }: PvOptions, layout: PvLayout, p2m: P2m): GrantEntry[] {
  const entry = (ref: number, page: Region | undefined, domid: number): GrantEntry[] =>
    page ? [{ ref, domid, pfn: page.pfn, mfn: mfnOf(p2m, page.pfn, page.name) }] : []
  return [
    ...entry(GNTTAB_RESERVED.CONSOLE, layout.console, consoleDomid),
    ...entry(GNTTAB_RESERVED.XENSTORE, layout.xenstore, storeDomid),
  ]
}

/** A HYPERCALL_PAGE note must point to memory, whether or not the page is to be filled. */
function hypercallPagePfn(memory: GuestMemory, pv: PvKernel, p2m: P2m): Pfn | undefined {
  const vaddr = pv.params.hypercallPage
  if (vaddr === undefined) return undefined
  const pfn = Number(u64(vaddr - pv.virtBase) / BigInt(PAGE_SIZE))
  if (!memory.has(pfn) || p2m.mfn(pfn) === undefined) {
    throw new DomainBuilderError('wrong-layout', "the hypercall page lies outside the guest's memory", {
      expected: `a pfn below ${hex(memory.endPfn)}`,
      found: `${hex(pfn)}, for HYPERCALL_PAGE ${hex(vaddr)}`,
    })
  }
  return pfn
}

/** Returns the features asked for and those the kernel requires: the kernel must support all of them. */
function negotiate(pv: PvKernel, asked: number): FeatureName[] {
  const { supported, required } = pv.params
  const active = asked | required
  const names = (Object.keys(XENFEAT) as FeatureName[]).filter((name) => (active >>> XENFEAT[name]) & 1)
  const missing = names.filter((name) => !((supported >>> XENFEAT[name]) & 1))
  if (missing.length > 0) {
    throw new DomainBuilderError('unsupported-feature', 'the kernel does not support a requested feature', {
      expected:
        (Object.keys(XENFEAT) as FeatureName[]).filter((name) => (supported >>> XENFEAT[name]) & 1).join('|') ||
        'no feature',
      found: missing.join('|'),
    })
  }
  return names
}

/** Every placed page needs a machine frame; only unused pages may be holes. */
function requireFrames(p2m: P2m, regions: readonly Region[]): void {
  if (p2m.distance !== undefined) return
  for (const { name, pfn, pages } of regions) {
    if (name === 'pad') continue
    for (let i = 0; i < pages; i += p2m.rangeFrom?.(pfn + i)?.pages ?? 1) mfnOf(p2m, pfn + i, name)
  }
}

/** Gives the top table of a PAE kernel without extended cr3 a frame that its cr3 can hold. */
function lowTop(pv: PvKernel, layout: PvLayout, p2m: P2m, lowMfn: number | undefined): P2m {
  const { top } = layout.tables
  const mfn = p2m.mfn(top)
  if (pv.abi !== 'x86_32p' || pv.params.pae !== 'yes' || mfn === undefined || mfn < PAE_L3_MFN_END) return p2m
  if (lowMfn === undefined) {
    throw new DomainBuilderError(
      'bad-config',
      'lowMfn is missing, and the kernel needs its top page table below 4 GiB',
      {
        expected: `a frame below ${hex(PAE_L3_MFN_END)}`,
        found: hex(mfn),
      },
    )
  }
  return withMoved(p2m, new Map([[top, lowMfn]]))
}

function generateP2m(memory: GuestMemory, p2m: P2m, list: Region, entryBytes: 4 | 8): void {
  const pages = memory.endPfn
  memory.generate(paddrOf(list.pfn), list.pages * PAGE_SIZE, (offset, out) =>
    fillP2mList(p2m, pages, entryBytes, offset, out),
  )
}

function generateTables(memory: GuestMemory, p2m: P2m, tables: PageTables): void {
  for (const run of tables.runs) {
    memory.generate(paddrOf(run.pfn), run.count * PAGE_SIZE, (offset, out) =>
      tables.fill(p2m, run.pfn + offset / PAGE_SIZE, out),
    )
  }
}
