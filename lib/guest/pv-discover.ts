/**
 * discoverPv: finds the boot information of a PV guest that was read from a file, in its memory and registers.
 *
 * Source: xen/include/public/xen.h (start_info and the parts it names); docs/specs/libxc-migration-stream.pandoc.
 * Gotcha: %rsi holds start_info's address only in a guest that has not run yet; a suspended guest has only its frame.
 * Linux replaces the machine frames in start_info by pfns before it suspends, since a restored guest gets other ones.
 */
import { SharedInfo32, SharedInfo64 } from '../abi/shared-info.js'
import { START_INFO_MAGIC, StartInfo64 } from '../abi/start-info.js'
import { PTE_PRESENT } from '../abi/x86.js'
import { encodeUtf8 } from '../bytes.js'
import { defined } from '../defined.js'
import { PAGE_SIZE, type Pfn, paddrOf, pfnOf, type Vaddr } from '../units.js'
import {
  type Domain,
  type PageTableFrames,
  type PvBoot,
  pageTypes,
  type SharedPage,
  type TableFramesRun,
} from './domain.js'
import type { P2m } from './p2m.js'
import type { Region } from './region.js'
import { addPages, type Growing, type Run, runBefore } from './runs.js'
import { readStartInfo, type StartInfo } from './start-info.js'
import { entryPfn, entryVaddr, walkPageTables } from './table-reader.js'
import { topTable, translate, type Walkable } from './translate.js'

/** The facts that the caller already knows. */
interface FoundPv {
  readonly domain: Omit<Domain<PvBoot>, 'boot' | 'regions' | 'pageType'>
  /** Undefined: by the tables that cr3 leads to. */
  readonly pageType?: Domain['pageType']
  readonly startInfo: Pfn
  readonly sharedInfo: Uint8Array
  /** Frames that hold page tables; undefined: found from cr3. */
  readonly tables?: Omit<PageTableFrames, 'top' | 'pages'>
  /** Frames of the p2m list in its order; undefined: found through start_info. */
  readonly p2mFrames?: readonly Pfn[]
}

/**
 * Returns the domain with all that it could find.
 * @throws DomainBuilderError `bad-snapshot` if start_info is not in its frame, `not-mapped` if cr3 leads nowhere.
 */
export function discoverPv(found: FoundPv): Domain<PvBoot> {
  const pageTables: PageTableFrames = { top: 0, pages: 0, runs: [] }
  const startInfo = { pfn: found.startInfo, vaddr: 0n }
  const { sharedInfo } = found
  const blank: PvBoot = {
    kind: 'start_info',
    startInfo,
    sharedInfo,
    sharedInfoMfn: 0,
    grants: [],
    pageTables,
    features: [],
  }
  const bare: Domain<PvBoot> = { ...found.domain, regions: [], boot: blank, pageType: pageTypes(blank) }
  const fields = readStartInfo(bare)
  const tables = framesOfTables(bare, found.tables?.runs)
  const vaddr = addressOf(bare, found.startInfo)
  const pfnIn = isSuspended(bare) ? (frame: number) => frame : bare.p2m.pfn
  const xenstore = sharedPage(bare, pfnIn, fields.store_mfn, fields.store_evtchn)
  const console = sharedPage(bare, pfnIn, fields.console_mfn, fields.console_evtchn)
  const entry = (ref: number, page: SharedPage | undefined) =>
    page ? [{ ref, domid: 0, pfn: page.pfn, mfn: bare.p2m.mfn(page.pfn) ?? 0 }] : []
  const boot: PvBoot = {
    ...blank,
    startInfo: { pfn: found.startInfo, vaddr },
    sharedInfoMfn: Number(BigInt.asUintN(40, fields.shared_info / BigInt(PAGE_SIZE))),
    ...defined({ xenstore, console }),
    grants: [...entry(0, console), ...entry(1, xenstore)],
    pageTables: tables,
  }
  const domain: Domain<PvBoot> = { ...bare, boot, pageType: found.pageType ?? pageTypes(boot) }
  return { ...domain, regions: findRegions(domain, fields, found.p2mFrames) }
}

/** Whether vcpu 0 is at its first instruction: %rsi still points to start_info. */
export function isFirstInstant(domain: Domain<PvBoot>): boolean {
  const rsi = rsiOf(domain)
  return rsi % BigInt(PAGE_SIZE) === 0n && translate(domain, rsi)?.pfn === domain.boot.startInfo.pfn
}

/** Whether the guest has run: Xen has told it the time, and vcpu 0 is past its first instruction. */
export function hasRun(domain: Domain<PvBoot>): boolean {
  const SharedInfo = domain.abi === 'x86_64' ? SharedInfo64 : SharedInfo32
  return SharedInfo.decode(domain.boot.sharedInfo).wc_version !== 0 && !isFirstInstant(domain)
}

/** Returns whether the guest suspended itself: %rdx of vcpu 0 names start_info's frame, as SCHEDOP_shutdown asks. */
export function isSuspended(domain: Domain<PvBoot>): boolean {
  return pfnInRdx(domain) === domain.boot.startInfo.pfn && !isFirstInstant(domain)
}

const rsiOf = ({ vcpus }: Walkable): Vaddr => vcpus[0]?.registers.rsi ?? 0n

const pfnInRdx = ({ p2m, vcpus }: Walkable): Pfn | undefined =>
  p2m.pfn(Number(BigInt.asUintN(40, vcpus[0]?.registers.rdx ?? 0n)))

/**
 * Returns the frame of start_info: the one that a guest which has not run finds, or that a suspended guest gave to Xen.
 * A running guest names it nowhere, but keeps the page, which is found by its magic. Undefined if it is missing.
 */
export function findStartInfo(domain: Walkable): Pfn | undefined {
  const mapped = translate(domain, rsiOf(domain))
  const said = [mapped ? pfnOf(mapped.paddr) : undefined, pfnInRdx(domain)]
  const isThere = startInfoSought(domain)
  const there = said.find((pfn) => pfn !== undefined && domain.memory.has(pfn) && isThere(pfn))
  return there ?? firstPage(domain, isThere)
}

/** Returns a test for a page that begins as start_info does: the magic, and NUL up to the number of pages. */
function startInfoSought({ abi, memory }: Walkable): (pfn: Pfn) => boolean {
  const magic = encodeUtf8(abi === 'x86_64' ? START_INFO_MAGIC.x86_64 : START_INFO_MAGIC.x86_32p)
  const field = new Uint8Array(StartInfo64.offsetOf('nr_pages'))
  field.set(magic)
  const start = new Uint8Array(field.length)
  return (pfn) => {
    memory.readInto(paddrOf(pfn), start)
    return start.every((byte, i) => byte === field[i])
  }
}

function firstPage({ memory }: Walkable, isThere: (pfn: Pfn) => boolean): Pfn | undefined {
  for (const { pfn, pages } of memory.pages()) {
    for (let i = 0; i < pages; i++) if (isThere(pfn + i)) return pfn + i
  }
  return undefined
}

/** The virtual address of a frame: %rsi, else the first address in the page tables, else 0. */
function addressOf(domain: Domain<PvBoot>, pfn: Pfn): Vaddr {
  if (isFirstInstant(domain)) return rsiOf(domain)
  for (const table of walkPageTables(domain)) {
    if (table.level !== 1) continue
    const index = table.entries.findIndex(
      (e) => (e & BigInt(PTE_PRESENT)) !== 0n && entryPfn(domain, e, table.level) === pfn,
    )
    if (index >= 0) return entryVaddr(domain, table, index)
  }
  return 0n
}

/** @param pfnIn returns the pfn for a frame of start_info. */
function sharedPage(domain: Domain, pfnIn: P2m['pfn'], frame: bigint, evtchn: number): SharedPage | undefined {
  const pfn = frame === 0n || frame >> 40n ? undefined : pfnIn(Number(frame))
  return pfn === undefined || !domain.memory.has(pfn) ? undefined : { pfn, evtchn }
}

function framesOfTables(domain: Domain, known: PageTableFrames['runs'] | undefined): PageTableFrames {
  const top = topTable(domain)
  const runs = known ?? walkedRuns(domain)
  return { top, pages: runs.reduce((sum, run) => sum + run.pages, 0), runs }
}

/** All tables that cr3 leads to, as runs of frames of one level. */
function walkedRuns(domain: Domain): PageTableFrames['runs'] {
  const frames = [...walkPageTables(domain)].map(({ level, pfn }) => ({ level, pfn }))
  frames.sort((a, b) => a.pfn - b.pfn || b.level - a.level)
  const runs: Growing<TableFramesRun>[] = []
  let end = 0
  for (const { level, pfn } of frames) {
    if (pfn < end) continue
    end = pfn + 1
    const last = runBefore(runs, pfn)
    if (last?.level === level) last.pages++
    else runs.push({ level, pfn, pages: 1 })
  }
  return runs
}

/** The parts that start_info names, as regions; with an address if the page tables confirm it. */
function findRegions(domain: Domain<PvBoot>, fields: StartInfo, p2mFrames: readonly Pfn[] | undefined): Region[] {
  const { boot } = domain
  const base = boot.startInfo.vaddr - BigInt(boot.startInfo.pfn) * BigInt(PAGE_SIZE)
  const region = (name: string, pfn: Pfn, pages: number, extra: { vaddr?: Vaddr; bytes?: number } = {}): Region => {
    const linear = base + BigInt(pfn) * BigInt(PAGE_SIZE)
    const guess = extra.vaddr ?? linear
    const vaddr = guess >= 0n && translate(domain, guess)?.pfn === pfn ? guess : undefined
    return defined({ name, pfn, pages, vaddr, bytes: extra.bytes })
  }
  // The list continues from one of its regions to the next, in any place: a guest that has run has rebuilt it.
  const list: Growing<Run>[] = []
  for (const pfn of p2mFrames ?? listedP2m(domain, fields)) addPages(list, pfn, 1)
  const out = [region('start_info', boot.startInfo.pfn, 1)]
  if (boot.xenstore) out.push(region('xenstore', boot.xenstore.pfn, 1))
  if (boot.console) out.push(region('console', boot.console.pfn, 1))
  const tables: Growing<Run>[] = []
  for (const run of boot.pageTables.runs) addPages(tables, run.pfn, run.pages)
  for (const run of tables) out.push(region('page_tables', run.pfn, run.pages))
  const module = isFirstInstant(domain) ? translate(domain, fields.mod_start) : undefined
  const bytes = Number(fields.mod_len)
  const pages = Math.ceil(bytes / PAGE_SIZE)
  if (module && bytes > 0 && module.pfn + pages <= domain.memory.endPfn) {
    const whole = bytes === pages * PAGE_SIZE
    out.push(
      region('ramdisk', module.pfn, pages, defined({ vaddr: fields.mod_start, bytes: whole ? undefined : bytes })),
    )
  }
  out.sort((a, b) => a.pfn - b.pfn)
  const next = out.findIndex(({ pfn }) => pfn > (list[0]?.pfn ?? 0))
  const p2m = list.map((run) => region('p2m', run.pfn, run.pages))
  return out.toSpliced(next < 0 ? out.length : next, 0, ...p2m)
}

/** The frames of the list at mfn_list, up to the first unmapped one. */
function listedP2m(domain: Domain, fields: StartInfo): Pfn[] {
  const entryBytes = domain.abi === 'x86_64' ? 8 : 4
  const count = Math.ceil((domain.memory.endPfn * entryBytes) / PAGE_SIZE)
  const frames: Pfn[] = []
  for (let i = 0; i < count; i++) {
    const found = translate(domain, fields.mfn_list + BigInt(i) * BigInt(PAGE_SIZE))
    if (!found) return frames
    frames.push(found.pfn)
  }
  return frames
}
