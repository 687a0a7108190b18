/**
 * A PV guest on a hypervisor: its frames come first, since its page tables and start_info contain them.
 *
 * Source: xen/include/public/xen.h; Xen tools/libs/guest/xg_dom_boot.c and xg_dom_x86.c for the order (the facts).
 * Gotcha: Xen takes a page table only while no toolstack can write it, so all writing ends before the top one is pinned.
 */
import { E820_TYPE } from '../abi/boot-params.js'
import { PAE_L3_MFN_END } from '../abi/xen-mmu.js'
import { DomainBuilderError } from '../errors.js'
import { mfnOf, type P2mRange } from '../guest/p2m.js'
import { encodePvContext } from '../guest/pv-context.js'
import { buildDomain } from '../protocol/build.js'
import { PAGE_SIZE, type Pfn } from '../units.js'
import { framesBy, populatePv, writeGuest, writtenBytes } from './guest-frames.js'
import type { Launched, Launching } from './launching.js'

/** Makes the parts of a PV guest in its domain, up to the point where it could start. */
export async function launchPv(launching: Launching): Promise<Launched> {
  const { xen, domid, plan, kernel, config, ports, steps } = launching
  const frames = plan.memory.ranges
  await xen.setMemoryMap(domid, [{ start: 0, end: plan.maxmem, type: E820_TYPE.RAM }])
  const pages = frames.reduce((sum, { start, end }) => sum + end - start, 0)
  const populated = await populatePv(xen, domid, frames, steps.begin('populate', pages * PAGE_SIZE))
  const ranges = await withLowTop(launching, populated)
  const info = await xen.domainInfo(domid)
  if (info === undefined) throw new DomainBuilderError('no-domain', `domain ${domid} has disappeared`)

  const domain = buildDomain(kernel, {
    ...config,
    type: 'pv',
    purpose: 'create',
    xen: xen.release,
    p2m: { ranges },
    sharedInfoMfn: info.sharedInfoFrame,
    storeEvtchn: ports.store.port,
    consoleEvtchn: ports.console.port,
    storeDomid: ports.store.domid,
    consoleDomid: ports.console.domid,
  })
  await writeGuest(xen, domid, domain, framesBy(domain.p2m), steps.begin('write', writtenBytes(domain)))

  const { boot, p2m } = domain
  const mfn = (pfn: Pfn): number => mfnOf(p2m, pfn, 'page')
  if (boot.hypercallPage !== undefined) await xen.initHypercallPage(domid, mfn(boot.hypercallPage))
  await xen.pinTable(domid, domain.abi === 'x86_64' ? 4 : 3, mfn(boot.pageTables.top))
  await xen.writeFrames(domid, BigUint64Array.of(BigInt(info.sharedInfoFrame)), [{ offset: 0, bytes: boot.sharedInfo }])
  for (const vcpu of domain.vcpus) {
    if (!vcpu.online) continue
    await xen.setVcpuContext(domid, vcpu.id, encodePvContext(vcpu, domain.abi === 'x86_64' ? 'x86_64' : 'x86_32p'))
  }
  const { xenstore, console } = boot
  if (xenstore === undefined || console === undefined) {
    throw new DomainBuilderError('bad-config', 'a dom0 is built by Xen itself')
  }
  return {
    domain,
    storeFrame: mfn(xenstore.pfn),
    consoleFrame: mfn(console.pfn),
    grants: boot.grants.map(({ ref, domid, mfn }) => ({ ref, domid, frame: mfn })),
  }
}

/** Gives the top table of a PAE guest a frame that cr3 can hold, whether or not the kernel could take a higher one. */
async function withLowTop({ xen, domid, plan }: Launching, ranges: P2mRange[]): Promise<P2mRange[]> {
  const { boot, abi } = plan
  if (boot.kind !== 'start_info' || abi !== 'x86_32p') return ranges
  const { top: pfn } = boot.pageTables
  const at = ranges.findIndex((range) => pfn >= range.pfn && pfn < range.pfn + range.pages)
  const range = ranges[at]
  if (range === undefined || range.mfn + pfn - range.pfn < PAE_L3_MFN_END) return ranges
  const before = pfn - range.pfn
  const mfn = await xen.exchangeBelow4GiB(domid, pfn, range.mfn + before)
  const parts = [
    { ...range, pages: before },
    { pfn, mfn, pages: 1 },
    { pfn: pfn + 1, mfn: range.mfn + before + 1, pages: range.pages - before - 1 },
  ]
  return ranges.toSpliced(at, 1, ...parts.filter(({ pages }) => pages > 0))
}
