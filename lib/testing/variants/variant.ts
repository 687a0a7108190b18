/**
 * BootInfoVariant: one legal but unusual boot information, and the tools that its makers share.
 *
 * Source: our own design; each variant names the specification that allows it.
 * Gotcha: a variant changes a copy of the guest's memory. The memory of the guest it came from stays as it was.
 */
import { LOW_HOLE } from '../../abi/pc.js'
import type { Domain } from '../../guest/domain.js'
import type { GuestMemory } from '../../guest/memory.js'
import { inRealMode, type Registers } from '../../guest/vcpu.js'
import type { Kernel } from '../../kernel/kernel.js'
import { buildDomain } from '../../protocol/build.js'
import type { DomainConfig } from '../../protocol/config.js'
import type { KeysOf } from '../../protocol/config-values.js'
import { PAGE_SIZE, type Pfn, paddrOf, pfnOf, type Range } from '../../units.js'
import { patternBytes } from '../pattern.js'

/** A machine that a kernel must survive, since the specification allows it. */
export interface BootInfoVariant {
  /** Such as `no-rsdp`: lower case, unique among the variants of a type of guest. */
  readonly name: string
  /** The rule that allows it, in one sentence. */
  readonly rule: string
  /** The document with that rule, and the part of it. */
  readonly source: string
  /**
   * Returns the guest.
   * @throws DomainBuilderError if this kernel says that it has no use for such a machine: too little memory for it, an
   *   entry it lacks, a ramdisk address that its header forbids.
   */
  build(): Domain
}

/** A line of a table of variants, for one type of configuration. */
export interface VariantRule<C extends DomainConfig> extends Omit<BootInfoVariant, 'build'> {
  /** Whether the variant differs at all from that kernel's guest of that configuration. Default: always. */
  differs?(config: C, kernel: Kernel): boolean
  /** Returns the guest of that configuration, changed. */
  make(kernel: Kernel, config: C): Domain
}

/** Returns a maker of the guest with other values of its configuration; a pair that is invalid is refused at the build. */
export const having =
  <C extends DomainConfig>(change: { readonly [K in KeysOf<DomainConfig>]?: unknown }) =>
  (kernel: Kernel, config: C): Domain =>
    buildDomain(kernel, { ...config, ...change } as DomainConfig)

/** Returns the guest with a changed copy of its memory. */
export function withMemory<D extends Domain>(domain: D, change: (memory: GuestMemory) => void): D {
  const memory = domain.memory.copy()
  change(memory)
  return { ...domain, memory }
}

/** Returns the guest whose first vcpu starts with other registers. */
export function withRegisters<D extends Domain>(domain: D, change: Partial<Registers>): D {
  const [first, ...others] = domain.vcpus
  if (first === undefined) return domain
  return { ...domain, vcpus: [{ ...first, registers: { ...first.registers, ...change } }, ...others] }
}

/** Returns registers that hold a pattern of 32 or 64 bits, different in each. */
export function patternRegisters(names: readonly (keyof Registers)[], bits: 32 | 64): Partial<Registers> {
  const bytes = patternBytes(names.length * 8)
  const view = new DataView(bytes.buffer)
  return Object.fromEntries(names.map((name, i) => [name, BigInt.asUintN(bits, view.getBigUint64(i * 8))]))
}

/** The most memory that a pattern fills, in pages: 256 MiB. A file of the guest has all of it. */
const PATTERN_PAGES = 2 ** 16

/**
 * Returns the guest with a pattern in the memory that no region uses. Before a guest in real mode a BIOS runs, which
 * uses the memory below 1 MiB.
 */
export function withPattern<D extends Domain>(domain: D): D {
  const [first] = domain.vcpus
  const used = domain.regions
    .map(({ pfn, pages }) => ({ start: pfn, end: pfn + pages }))
    .concat(first !== undefined && inRealMode(first) ? { start: 0, end: pfnOf(LOW_HOLE.end) } : [])
    .sort((a, b) => a.start - b.start)
  const page = patternBytes(PAGE_SIZE, 7)
  let left = PATTERN_PAGES
  return withMemory(domain, (memory) => {
    for (const { start, end } of memory.ranges.flatMap((range) => unused(range, used))) {
      const pages = Math.min(end - start, left)
      if (pages === 0) return
      left -= pages
      memory.generate(paddrOf(start), pages * PAGE_SIZE, (_, out) => {
        for (let at = 0; at < out.length; at += PAGE_SIZE) out.set(page, at)
      })
    }
  })
}

/** Returns the parts of a range of frames that sorted ranges leave. They may overlap. */
function unused(range: Range<Pfn>, used: readonly Range<Pfn>[]): Range<Pfn>[] {
  const left: Range<Pfn>[] = []
  let { start } = range
  for (const one of used) {
    if (one.end <= start || one.start >= range.end) continue
    if (one.start > start) left.push({ start, end: one.start })
    start = one.end
  }
  if (start < range.end) left.push({ start, end: range.end })
  return left
}
