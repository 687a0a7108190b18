/**
 * The capture of a PV guest: its contexts, its p2m list and its frames with their types.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "x86 PV Guest": what a toolstack needs of such a guest.
 * Gotcha: the frames are machine frames, as the guest has them, and each belongs to one pfn. Holes of the list, and
 * frames that are not the domain's, are holes in the memory.
 */
import { X86PvVcpu } from '../abi/save-stream.js'
import { VcpuGuestContext32, VcpuGuestContext64, VGCF_ONLINE } from '../abi/vcpu-context.js'
import { concat } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain, PvBoot, SavedRecord } from '../guest/domain.js'
import { makeP2m } from '../guest/p2m.js'
import { decodePvContext, pvContextBytes } from '../guest/pv-context.js'
import { discoverPv, findStartInfo } from '../guest/pv-discover.js'
import { type Vcpu, waitingPvVcpu } from '../guest/vcpu.js'
import { isPresent } from '../snapshot/page-index.js'
import { PAGE_SIZE, type Pfn } from '../units.js'
import type { Work } from '../work.js'
import type { CaptureParts } from './capture-parts.js'
import type { FrameCopy } from './frame-copy.js'
import type { DomainInfo, Hypervisor, VcpuState } from './hypervisor.js'
import { FRAMES_AT_ONCE } from './hypervisor.js'
import { type ReadP2m, readP2mList } from './p2m-list.js'

/** Pfns that a list may have in addition to a domain's pages: those of the holes below 4 GiB. */
const HOLES_MAX = 2 ** 20
/** The longest list that libxc saves, in entries. */
const LIST_MAX = 2 ** 28

/** The records of a vcpu in addition to its context. */
const STATES = {
  extended: 'X86_PV_VCPU_EXTENDED',
  xsave: 'X86_PV_VCPU_XSAVE',
  msrs: 'X86_PV_VCPU_MSRS',
} as const satisfies Readonly<Record<VcpuState, string>>

/** Copies a PV guest that has stopped. Returns a function that makes the Domain of the copy. */
export async function copyPv(
  xen: Hypervisor,
  info: DomainInfo,
  copy: FrameCopy,
  work: Work,
): Promise<(parts: CaptureParts) => Domain<PvBoot>> {
  const { domid } = info
  const { contexts, abi } = await readContexts(xen, info)
  const sharedInfo = new Uint8Array(PAGE_SIZE)
  await xen.readFrames(domid, BigUint64Array.of(BigInt(info.sharedInfoFrame)), sharedInfo)
  const limit = Math.min(info.maxPages + HOLES_MAX, LIST_MAX)
  const list = await readP2mList({
    xen,
    domid,
    abi,
    sharedInfo,
    vcpu: () => vcpusOf(contexts, abi)[0] ?? waitingPvVcpu(0),
    limit,
  })
  await copyListed(info, list, copy, work)
  const states = await readStates(xen, info, contexts)
  return ({ name, maxmem, saved }) => {
    const { pages, memory } = copy.finish()
    const vcpus = vcpusOf(contexts, abi)
    const p2m = makeP2m({ table: list.table }, list.table.length)
    const domain = {
      type: 'pv',
      abi,
      name,
      memory,
      maxmem: Math.max(maxmem ?? 0, memory.pageCount * PAGE_SIZE),
      vcpus,
      p2m,
      saved: { ...saved, records: [...saved.records, ...states] },
    } as const
    const startInfo = findStartInfo(domain)
    if (startInfo === undefined) throw noStartInfo()
    return discoverPv({
      domain,
      pageType: (pfn) => pages.pageType(pfn),
      startInfo,
      sharedInfo,
      tables: { runs: pages.tableRuns() },
      p2mFrames: list.frames.flatMap((mfn) => p2m.pfn(mfn) ?? []),
    })
  }
}

const noStartInfo = (): DomainBuilderError =>
  new DomainBuilderError('bad-snapshot', 'start_info is missing from the guest', {
    expected: 'a page with its magic',
    found: 'none',
  })

type Contexts = readonly (Uint8Array | undefined)[]

/** Returns the contexts of all vcpus: their length shows the width of the guest. */
async function readContexts(
  xen: Hypervisor,
  { domid, maxVcpuId }: DomainInfo,
): Promise<{ readonly contexts: Contexts; readonly abi: 'x86_64' | 'x86_32p' }> {
  const contexts: (Uint8Array | undefined)[] = []
  for (let id = 0; id <= maxVcpuId; id++) contexts.push(await xen.vcpuContext(domid, id))
  const length = contexts[0]?.length
  const abi = (['x86_64', 'x86_32p'] as const).find((one) => pvContextBytes(one) === length)
  if (abi === undefined) {
    throw new DomainBuilderError('bad-snapshot', 'vcpu 0 has no context', {
      expected: `${pvContextBytes('x86_64')} or ${pvContextBytes('x86_32p')} bytes`,
      found: `${length ?? 'none'}`,
    })
  }
  return { abi, contexts }
}

const vcpusOf = (contexts: Contexts, abi: 'x86_64' | 'x86_32p'): Vcpu[] =>
  contexts.map((bytes, id) => (bytes ? decodePvContext(bytes, abi, id) : waitingPvVcpu(id)))

/** Returns whether the vcpu of a context runs. */
function isOnline(context: Uint8Array | undefined): boolean {
  if (context === undefined) return false
  const is64 = context.length === pvContextBytes('x86_64')
  const at = (is64 ? VcpuGuestContext64 : VcpuGuestContext32).offsetOf('flags')
  return ((context[at] as number) & VGCF_ONLINE) !== 0
}

/** Copies the frames of the list, and makes a hole of each that is not the domain's. */
async function copyListed(
  { pages: limit }: DomainInfo,
  { table }: ReadP2m,
  copy: FrameCopy,
  work: Work,
): Promise<void> {
  const words = new Uint32Array(table.buffer)
  const pfns = new Uint32Array(FRAMES_AT_ONCE)
  const frames = new BigUint64Array(FRAMES_AT_ONCE)
  const out = new Uint32Array(frames.buffer)
  for (let start: Pfn = 0; start < table.length; start += FRAMES_AT_ONCE) {
    const end = Math.min(start + FRAMES_AT_ONCE, table.length)
    let count = 0
    for (let pfn = start; pfn < end; pfn++) {
      const high = words[2 * pfn + 1] as number
      if (high === 0xffffffff) continue
      out[2 * count] = words[2 * pfn] as number
      out[2 * count + 1] = high
      pfns[count++] = pfn
    }
    if (count === 0) continue
    const types = await copy.take(pfns, frames.subarray(0, count), work)
    for (let i = 0; i < count; i++) if (!isPresent(types[i] as number)) table[pfns[i] as Pfn] = 0xffffffffffffffffn
    // More frames than the domain has: some are there twice, and the list is a lie.
    if (copy.present > limit) {
      throw new DomainBuilderError('bad-snapshot', 'the p2m list of the guest names frames more than once', {
        expected: `at most ${limit} frames`,
        found: 'more',
      })
    }
  }
}

/** Returns the other state of the vcpus that run, as records of a save file. */
async function readStates(xen: Hypervisor, { domid }: DomainInfo, contexts: Contexts): Promise<SavedRecord[]> {
  const records: SavedRecord[] = []
  for (const [id, context] of contexts.entries()) {
    if (!isOnline(context)) continue
    for (const [state, name] of Object.entries(STATES) as [VcpuState, string][]) {
      const body = await xen.vcpuState(domid, id, state)
      if (body.length > 0) records.push({ name, body: concat([X86PvVcpu.encode({ vcpu_id: id, reserved: 0 }), body]) })
    }
  }
  return records
}
