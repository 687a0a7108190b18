/**
 * The capture of an HVM or PVH guest: its frames, its context and its parameters.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "x86 HVM Guest"; tools/libs/guest/xg_sr_save_x86_hvm.c for the
 * parameters that a save file has.
 * Gotcha: most of the frames below 4 GiB do not exist, and asking for all of them takes longer than copying a small
 * guest. So they are sought before the guest stops, from both ends, until all its pages are found.
 */
import { HVM_PARAM, type HvmParamName } from '../abi/hvm-params.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain, HvmBoot, HvmParam, PvhBoot } from '../guest/domain.js'
import { isPresent } from '../snapshot/page-index.js'
import { hvmOrPvhGuest } from '../snapshot/xen-save-hvm.js'
import { alignUp, type Pfn } from '../units.js'
import { breathe, type Work } from '../work.js'
import type { CaptureParts } from './capture-parts.js'
import { type FrameCopy, frameTypes } from './frame-copy.js'
import { type DomainInfo, FRAMES_AT_ONCE, type Hypervisor } from './hypervisor.js'

/** The end of the largest guest that libxc saves. */
const PFNS_MAX = 2 ** 28

/** The parameters of a save file. */
const SAVED_PARAMS: readonly HvmParamName[] = [
  'STORE_PFN',
  'IOREQ_PFN',
  'BUFIOREQ_PFN',
  'VIRIDIAN',
  'IDENT_PT',
  'CONSOLE_PFN',
  'ACPI_IOPORTS_LOCATION',
  'PAGING_RING_PFN',
  'MONITOR_RING_PFN',
  'SHARING_RING_PFN',
  'IOREQ_SERVER_PFN',
  'NR_IOREQ_SERVER_PAGES',
  'VM_GENERATION_ID_ADDR',
  'X87_FIP_WIDTH',
  'VM86_TSS_SIZED',
  'MCA_CAP',
]

/** The frames of a guest, as they were before it stopped. */
interface Survey {
  /** The frame after the last one. */
  readonly end: Pfn
  /** The first frames of the windows in which some exist. */
  readonly windows: readonly Pfn[]
  /** Pages of the domain that were found nowhere. */
  readonly missing: number
}

const windowAt = (start: Pfn, end: Pfn): BigUint64Array =>
  BigUint64Array.from({ length: Math.min(FRAMES_AT_ONCE, end - start) }, (_, i) => BigInt(start + i))

/** Finds the frames of a guest that may run meanwhile. @throws the signal's reason. */
export async function surveyFrames(
  xen: Hypervisor,
  { domid, pages }: DomainInfo,
  signal: AbortSignal | undefined,
): Promise<Survey> {
  const end = (await xen.maximumGpfn(domid)) + 1
  if (end > PFNS_MAX) {
    throw new DomainBuilderError('does-not-fit', 'the highest frame of the guest is too high', {
      expected: `at most ${PFNS_MAX - 1}`,
      found: `${end - 1}`,
    })
  }
  const windows: Pfn[] = []
  let found = 0
  for (const start of outsideIn(end, () => windows.at(-1))) {
    if (found >= pages) break
    await breathe()
    signal?.throwIfAborted()
    const present = (await frameTypes(xen, domid, windowAt(start, end))).filter(isPresent).length
    if (present > 0) windows.push(start)
    found += present
  }
  return { end, windows: windows.sort((a, b) => a - b), missing: Math.max(0, pages - found) }
}

/**
 * Yields the windows up to the first one without frames, then the others from the last one down: between low memory and
 * the special pages of a guest there is nothing. @param last returns the last window that had frames.
 */
function* outsideIn(end: Pfn, last: () => Pfn | undefined): Generator<Pfn> {
  let low = 0
  for (; low < end; low += FRAMES_AT_ONCE) {
    yield low
    if (last() !== low) break
  }
  for (let high = alignUp(end, FRAMES_AT_ONCE) - FRAMES_AT_ONCE; high > low; high -= FRAMES_AT_ONCE) yield high
}

/** Copies a guest that has stopped. Returns a function that makes the Domain of the copy. */
export async function copyHvm(
  xen: Hypervisor,
  { domid, pages, maxVcpuId }: DomainInfo,
  copy: FrameCopy,
  work: Work,
  { windows, missing, end: surveyed }: Survey,
  isConnected: boolean,
): Promise<(parts: CaptureParts) => Domain<PvhBoot | HvmBoot>> {
  const end = Math.max(surveyed, (await xen.maximumGpfn(domid)) + 1)
  const take = async (start: Pfn): Promise<void> => {
    const frames = windowAt(start, end)
    await copy.take(Uint32Array.from(frames, Number), frames, work)
  }
  for (const start of windows) await take(start)
  // Only if pages came or moved in the meantime.
  for (let start = 0; start < end && copy.present + missing < pages; start += FRAMES_AT_ONCE) {
    if (!windows.includes(start)) await take(start)
  }
  const context = await xen.hvmContext(domid)
  const hvmParams: HvmParam[] = []
  // A guest that has not suspended still uses its connections, which a writer must know.
  for (const name of isConnected ? [...SAVED_PARAMS, 'CALLBACK_IRQ' as const] : SAVED_PARAMS) {
    const value = await xen.hvmParam(domid, HVM_PARAM[name])
    if (value) hvmParams.push({ index: HVM_PARAM[name], value })
  }
  hvmParams.sort((a, b) => a.index - b.index)
  return ({ type, name, maxmem, saved }) => {
    const { memory } = copy.finish()
    return hvmOrPvhGuest({
      type: type === 'hvm' ? 'hvm' : 'pvh',
      name,
      maxmem,
      memory,
      context,
      vcpus: maxVcpuId + 1,
      hvmParams,
      saved,
    })
  }
}
