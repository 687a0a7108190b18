/**
 * A PVH guest on a hypervisor: it lies at its own frames, so it is built before it has memory.
 *
 * Source: Xen tools/libs/light/libxl_x86.c and tools/libs/guest/xg_dom_x86.c for the order and the parameters (the facts).
 * Gotcha: the special pages and ACPI tables are never populated on demand.
 */
import { GNTTAB_RESERVED } from '../abi/grant-table.js'
import { HVM_PARAM, PVH_LOW_RAM_END } from '../abi/hvm-params.js'
import type { Domain, PvhBoot } from '../guest/domain.js'
import { encodeHvmContext } from '../guest/hvm-context.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { alignUp, PAGE_SIZE, type Pfn, pfnOf, type Range } from '../units.js'
import { populatePvh, sameFrames, writeGuest, writtenBytes } from './guest-frames.js'
import type { Launched, Launching } from './launching.js'

/** KiB of Xen's memory for each vcpu, and for each MiB of the guest (Xen's libxl_create.c). */
const POOL_KIB_PER_VCPU = 1024
const POOL_KIB_PER_MIB = 4

/** Makes the parts of a PVH guest in its domain, up to the point where it could start. */
export async function launchPvh(launching: Launching, domain: Domain<PvhBoot>): Promise<Launched> {
  const { xen, domid, ports, settings, steps } = launching
  const { vcpus, boot } = domain
  await xen.setPagingPool(domid, poolBytes(domain, settings.pagingPoolKib))
  await xen.setHvmParam(domid, HVM_PARAM.TIMER_MODE, BigInt(settings.timerMode))
  await populateAll(launching, domain)
  await writeGuest(xen, domid, domain, sameFrames, steps.begin('write', writtenBytes(domain)))

  const params = new Map(boot.hvmParams.map(({ index, value }) => [index, value]))
  params.set(HVM_PARAM.STORE_EVTCHN, BigInt(ports.store.port))
  params.set(HVM_PARAM.CONSOLE_EVTCHN, BigInt(ports.console.port))
  for (const [index, value] of params) await xen.setHvmParam(domid, index, value)
  const { memmap } = readHvmStartInfo(domain)
  await xen.setMemoryMap(
    domid,
    memmap.map(({ addr, size, type }) => ({ start: Number(addr), end: Number(addr + size), type })),
  )
  await xen.setHvmContext(domid, encodeHvmContext(vcpus))
  const frame = (index: number): number => Number(params.get(index))
  const [storeFrame, consoleFrame] = [frame(HVM_PARAM.STORE_PFN), frame(HVM_PARAM.CONSOLE_PFN)]
  return {
    domain,
    storeFrame,
    consoleFrame,
    grants: [
      { ref: GNTTAB_RESERVED.CONSOLE, domid: ports.console.domid, frame: consoleFrame },
      { ref: GNTTAB_RESERVED.XENSTORE, domid: ports.store.domid, frame: storeFrame },
    ],
  }
}

/** Returns the size of Xen's memory for the guest's page tables. */
function poolBytes({ maxmem, vcpus }: Domain, kib?: number): number {
  const mib = Math.floor(maxmem / 2 ** 20)
  return alignUp(1024 * (kib ?? POOL_KIB_PER_VCPU * vcpus.length + POOL_KIB_PER_MIB * mib), PAGE_SIZE)
}

async function populateAll({ xen, domid, steps }: Launching, domain: Domain<PvhBoot>): Promise<void> {
  const { memory, target } = domain
  const work = steps.begin('populate', memory.pageCount * PAGE_SIZE)
  if (target !== undefined) await xen.setPodTarget(domid, target / PAGE_SIZE)
  for (const range of memory.ranges) {
    await populatePvh(xen, domid, range, target !== undefined && isRam(range), work)
  }
}

/** Ranges in the hole below 4 GiB are special pages and ACPI tables. */
const isRam = ({ start }: Range<Pfn>): boolean => start < pfnOf(PVH_LOW_RAM_END) || start >= pfnOf(2 ** 32)
