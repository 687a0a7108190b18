/**
 * The types of a PV guest's frames: which of them are page tables, of which level, and which are pinned.
 *
 * Source: xen/arch/x86/mm.c (get_page_type, MMUEXT_PIN_Ln_TABLE); the rules are those of inspect/validate.ts.
 * Gotcha: a table keeps its type until the domain ends, and so do all tables that it leads to: a toolstack can write
 * none of them. There is no call to unpin one.
 */
import { PFINFO_NOTAB, PFINFO_PINNED } from '../../abi/save-stream.js'
import { PTE_PRESENT, PTE_RW } from '../../abi/x86.js'
import { type Domain, type PageType, type PvBoot, pageTypes } from '../../guest/domain.js'
import { entryPfn, type TablePage, walkTables } from '../../guest/table-reader.js'
import { waitingPvVcpu } from '../../guest/vcpu.js'
import { showPath, tableViolations } from '../../inspect/validate.js'
import { hex, type Mfn, type Pfn } from '../../units.js'
import type { DomainMemory } from './domain-memory.js'
import { demand, refused } from './refusal.js'

type Level = PageType['level']

/** A guest before its boot information is known. */
const NO_BOOT: PvBoot = {
  kind: 'start_info',
  startInfo: { pfn: 0, vaddr: 0n },
  sharedInfo: new Uint8Array(0),
  sharedInfoMfn: 0,
  grants: [],
  pageTables: { top: 0, pages: 0, runs: [] },
  features: [],
}

export class PageTypes {
  readonly #memory: DomainMemory
  readonly #levels = new Map<Mfn, Level>()
  readonly #pinned = new Set<Mfn>()
  /** The frames that a table of the guest maps writable. */
  readonly #writable = new Set<Mfn>()

  constructor(memory: DomainMemory) {
    this.#memory = memory
  }

  /** Returns the type of a frame as XEN_DOMCTL_getpageframeinfo3 does, without its shift. */
  type(mfn: Mfn): number {
    return (this.#levels.get(mfn) ?? PFINFO_NOTAB) | (this.#pinned.has(mfn) ? PFINFO_PINNED : 0)
  }

  /** Refuses a frame that is a page table, which a toolstack cannot map writable. */
  checkWritable(mfn: Mfn): void {
    const level = this.#levels.get(mfn)
    if (level !== undefined) throw refused('EBUSY', `mfn ${hex(mfn)}, an L${level} table of the guest, is written`)
  }

  /** Pins a table. */
  pin(mfn: Mfn, level: Level, abi: Domain['abi'], vmAssist: number): void {
    demand(!this.#pinned.has(mfn), 'EINVAL', `mfn ${hex(mfn)} is pinned already`)
    this.use(mfn, level, abi, vmAssist)
    this.#pinned.add(mfn)
  }

  /** Makes a frame a table of a level, if it is not yet one: validates it and all tables that it leads to. */
  use(mfn: Mfn, level: Level, abi: Domain['abi'], vmAssist: number): void {
    const known = this.#levels.get(mfn)
    if (known === level) return
    const pfn = this.#memory.p2m.pfn(mfn)
    if (pfn === undefined) throw refused('EINVAL', `mfn ${hex(mfn)} of a page table is not in the memory of the guest`)
    const root = { pfn, level }
    const guest = this.#guest(abi, vmAssist)
    const tables = [...walkTables(guest, root)]
    const found = this.#foundTypes(tables)
    const pageType = (page: Pfn): PageType => ({ level: found.get(page) ?? this.#levelOf(page), pinned: true })
    const [violation] = tableViolations({ ...guest, pageType }, root)
    if (violation)
      throw refused('EINVAL', `a page table is invalid: ${violation.message} (${showPath(violation.path)})`)
    for (const table of tables) this.#checkTable(table)
    for (const table of tables) this.#keep(guest, table)
  }

  #levelOf(pfn: Pfn): Level {
    const mfn = this.#memory.p2m.mfn(pfn)
    return (mfn === undefined ? undefined : this.#levels.get(mfn)) ?? 0
  }

  /** The level of each table: the known one, else that of its first use. */
  #foundTypes(tables: readonly TablePage[]): ReadonlyMap<Pfn, Level> {
    const found = new Map<Pfn, Level>()
    for (const { pfn, level } of tables) {
      if (!found.has(pfn)) found.set(pfn, this.#levelOf(pfn) || (level as Level))
    }
    return found
  }

  /** A guest as far as the rules of its tables need one. */
  #guest(abi: Domain['abi'], vmAssist: number): Domain<PvBoot> {
    return {
      type: 'pv',
      abi,
      name: '',
      memory: this.#memory.view(),
      maxmem: 0,
      vcpus: [{ ...waitingPvVcpu(0), pv: { flags: 0, kernelSs: 0, kernelSp: 0n, vmAssist } }],
      regions: [],
      p2m: this.#memory.p2m,
      boot: NO_BOOT,
      pageType: pageTypes(NO_BOOT),
    }
  }

  #checkTable({ pfn, level }: TablePage): void {
    const mfn = this.#memory.require(this.#memory.p2m.mfn(pfn) ?? 0)
    demand(!this.#memory.isMapped(mfn), 'EINVAL', `mfn ${hex(mfn)}, an L${level} table, is still mapped by a toolstack`)
    demand(!this.#writable.has(mfn), 'EINVAL', `mfn ${hex(mfn)}, an L${level} table, is mapped writable by the guest`)
  }

  #keep(guest: Domain, { pfn, level, entries }: TablePage): void {
    const mfn = this.#memory.p2m.mfn(pfn) as Mfn
    if (!this.#levels.has(mfn)) this.#levels.set(mfn, level as Level)
    if (level > 1) return
    const writable = BigInt(PTE_PRESENT | PTE_RW)
    for (const entry of entries) {
      if ((entry & writable) !== writable) continue
      const page = entryPfn(guest, entry, level)
      const frame = page === undefined ? undefined : this.#memory.p2m.mfn(page)
      if (frame !== undefined) this.#writable.add(frame)
    }
  }
}
