/**
 * The start-of-day allocator: next pfn and next virtual address advance together; it returns named regions.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout".
 * Gotcha: it never fails, so call requireWithin() at the end. Only then is the whole need known, and a refusal can name
 * it instead of the first region that did not fit.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logLayout } from '../log.js'
import { hex, PAGE_SIZE, type Pfn, pagesFor, type Vaddr } from '../units.js'
import type { LinearRegion, Region } from './region.js'

export class Allocator {
  readonly regions: Region[] = []
  #pfn: Pfn = 0
  #vaddr: Vaddr

  /** @param base virtual address of pfn 0. */
  constructor(base: Vaddr) {
    this.#vaddr = base
  }

  get nextPfn(): Pfn {
    return this.#pfn
  }

  get nextVaddr(): Vaddr {
    return this.#vaddr
  }

  /** Allocates the next pages. */
  allocate(name: string, bytes: number): LinearRegion {
    const pages = pagesFor(bytes)
    const whole = bytes === pages * PAGE_SIZE
    const region = defined({ name, pfn: this.#pfn, pages, vaddr: this.#vaddr, bytes: whole ? undefined : bytes })
    this.#pfn += pages
    this.#vaddr += BigInt(pages) * BigInt(PAGE_SIZE)
    if (pages > 0) this.regions.push(region)
    logLayout('%s: pfn %s + %d pages at %s', name, hex(region.pfn), pages, hex(region.vaddr))
    return region
  }

  /** Allocates pages that the initial page tables do not map at their linear address. */
  allocateElsewhere(name: string, bytes: number, vaddr?: Vaddr): Region {
    const { vaddr: linear, ...placed } = this.allocate(name, bytes)
    const region = { ...placed, ...defined({ vaddr }) }
    if (region.pages > 0) this.regions[this.regions.length - 1] = region
    return region
  }

  /** Allocates the pages up to a virtual address. They are never written, so they stay a hole. */
  padTo(vaddr: Vaddr): void {
    this.allocate('pad', Number(vaddr - this.#vaddr))
  }

  /** Leaves out the pages up to a pfn; the initial page tables do not map what follows. */
  skipTo(pfn: Pfn): void {
    this.allocateElsewhere('pad', Math.max(0, pfn - this.#pfn) * PAGE_SIZE)
  }

  /** @throws DomainBuilderError `memory-too-small`, with both figures, if the guest has fewer pages than allocated. */
  requireWithin(pages: number): void {
    if (this.#pfn <= pages) return
    const outside = this.regions.find((region) => region.pfn + region.pages > pages) as Region
    throw new DomainBuilderError('memory-too-small', `the guest has no room for its ${outside.name}`, {
      expected: `at least ${this.#pfn} pages (${mebibytes(this.#pfn)} MiB)`,
      found: `${pages} pages (${mebibytes(pages)} MiB)`,
    })
  }
}

const mebibytes = (pages: number): string => ((pages * PAGE_SIZE) / 2 ** 20).toFixed(2).replace(/\.?0+$/, '')
