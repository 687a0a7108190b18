/**
 * validate: would Xen's PV MMU accept this guest's page tables? Each violation comes with its path from cr3.
 *
 * Source: xen/include/public/arch-x86/xen-x86_{32,64}.h, xen/include/public/xen.h (mmuext_op, MMUEXT_PIN_Ln_TABLE);
 * Xen's checks at pinning were confirmed on a debug build, which reports each refusal.
 * Gotcha: a frame has one type in the whole guest: a table with any writable mapping is refused, even if that mapping
 * is harmless.
 */

import { VMASST_PAE_EXTENDED_CR3 } from '../abi/vcpu-context.js'
import { levelShift, PTE_ADDR_MASK, PTE_PRESENT, PTE_PSE, PTE_RW } from '../abi/x86.js'
import {
  ALLOWED_PTE_FLAGS,
  HYPERVISOR_VIRT_START_PAE,
  PAE_L3_ENTRIES,
  PAE_L3_MFN_END,
  PAE_XEN_L3_SLOT,
} from '../abi/xen-mmu.js'
import { HYPERVISOR_L4_SLOTS } from '../abi/xen-x86-64.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, requirePv } from '../guest/domain.js'
import { canonical, entryPfn, entryVaddr, type TablePage, type TableRoot, walkTables } from '../guest/table-reader.js'
import { pagingLevels, topTable, translate, type WalkStep } from '../guest/translate.js'
import { type SymbolTable, symbolAt } from '../symbols/symbol-table.js'
import { hex, type Pfn } from '../units.js'
import type { Json } from './json.js'

/** Every rule, with its description. */
export const PV_MMU_RULES = {
  'cr3-not-in-p2m': 'cr3 names a frame of the guest',
  'top-not-pinned': 'the table in cr3 is pinned',
  'wrong-type': 'a frame is used at the level of its declared type',
  'two-levels':
    'a frame is a table of one level only, except for read-only entries that name a table of the same level',
  'table-writable': 'no page table is mapped writable',
  'not-in-p2m': 'an entry names a frame of the guest',
  'bad-flags': 'an entry has only flags that Xen allows at its level',
  superpage: 'an entry maps no large page',
  'xen-hole': "nothing is mapped where Xen lives in the guest's address space",
  'pae-slot-3': 'slot 3 of a PAE L3 is present',
  'pae-l2-shared': 'the L2 of slot 3 is in no other slot',
  'pae-l3-high': 'the L3 of a PAE guest without extended cr3 lies below 4 GiB',
  'entry-not-mapped': 'the first instruction is mapped',
  'stack-not-writable': 'the stack is mapped writable',
  'start-info-not-mapped': 'start_info is mapped at the address in rsi until the first instruction',
} as const
/** One of the rules of Xen's PV MMU that `validate` applies: a key of PV_MMU_RULES. */
export type PvMmuRule = keyof typeof PV_MMU_RULES

/** A page-table entry that Xen would refuse, and why. */
export interface Violation {
  /** A key of PV_MMU_RULES, which has its description. */
  readonly rule: PvMmuRule
  /** The error, with both values. */
  readonly message: string
  /** From cr3 to the entry at fault; empty where the fault is in cr3 or a register. */
  readonly path: readonly WalkStep[]
}

/** The most violations that are listed: more of them have one cause. */
const MAX_VIOLATIONS = 1000

/** Returns a path as `cr3 -> L4[511] -> L3[510]`. */
export function showPath(path: readonly WalkStep[]): string {
  return ['cr3', ...path.map(({ level, index }) => `L${level}[${index}]`)].join(' -> ')
}

/** Returns the symbol at the address that the entry at fault translates; undefined without an entry or a symbol. */
export function violationSymbol(domain: Domain, { path }: Violation, symbols?: SymbolTable): string | undefined {
  if (path.length === 0) return undefined
  const address = path.reduce((sum, { level, index }) => sum + (BigInt(index) << BigInt(levelShift(level))), 0n)
  return symbolAt(symbols, canonical(address, pagingLevels(domain)))
}

/** Returns a violation as JSON. @param symbol the name of the address at fault. */
export const describeViolation = (
  { rule, message, path }: Violation,
  symbol?: string,
): { readonly [key: string]: Json } => ({
  rule,
  message,
  ...defined({ symbol }),
  path: path.map(({ level, pfn, index, entry }) => ({ level, pfn, index, entry: hex(entry, 16) })),
})

/**
 * Returns the violations of a PV guest, an empty list where Xen would accept its tables.
 * @throws DomainBuilderError `bad-config` for a guest whose tables Xen never sees.
 */
export function validate(domain: Domain): readonly Violation[] {
  if (domain.type !== 'pv') {
    throw new DomainBuilderError('bad-config', 'only a PV guest has page tables that Xen validates', {
      expected: 'pv',
      found: domain.type,
    })
  }
  let top: Pfn
  try {
    top = topTable(domain)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    return [{ rule: 'cr3-not-in-p2m', message: error.message, path: [] }]
  }
  return new Validator(domain, { pfn: top, level: pagingLevels(domain) }).all()
}

/** Returns the violations of a PV guest's table and those below it, as Xen finds them when the table is pinned. */
export const tableViolations = (domain: Domain, root: TableRoot): readonly Violation[] =>
  new Validator(domain, root).ofTables()

class Validator {
  readonly #domain: Domain
  readonly #root: TableRoot
  readonly #violations: Violation[] = []
  /** Level of every frame that is a table, by its first use. */
  readonly #levels = new Map<Pfn, number>()
  readonly #tables: TablePage[] = []

  constructor(domain: Domain, root: TableRoot) {
    this.#domain = domain
    this.#root = root
  }

  all(): readonly Violation[] {
    this.ofTables()
    this.#checkRegisters()
    return this.#violations
  }

  ofTables(): readonly Violation[] {
    for (const table of walkTables(this.#domain, this.#root)) {
      // A linear entry shows tables a second time, one level lower, as mapped pages.
      if (table.path.some((step) => this.#isLinear(step.level, entryPfn(this.#domain, step.entry, step.level))))
        continue
      this.#tables.push(table)
      this.#checkType(table)
    }
    this.#checkTop()
    for (const table of this.#tables) this.#checkEntries(table)
    if (this.#isPaeL3(this.#root.level)) this.#checkPae()
    return this.#violations
  }

  #report(rule: PvMmuRule, message: string, path: readonly WalkStep[] = []): void {
    if (this.#violations.length < MAX_VIOLATIONS) this.#violations.push({ rule, message, path })
  }

  #checkType({ pfn, level, path }: TablePage): void {
    const known = this.#levels.get(pfn)
    if (known !== undefined) {
      this.#report('two-levels', `pfn ${hex(pfn)} is used as L${known} and as L${level}`, path)
      return
    }
    this.#levels.set(pfn, level)
    const declared = this.#domain.pageType(pfn).level
    if (declared !== level) {
      this.#report(
        'wrong-type',
        `pfn ${hex(pfn)} is used as L${level} but declared ${declared === 0 ? 'ordinary' : `L${declared}`}`,
        path,
      )
    }
  }

  #checkTop(): void {
    const top = this.#root.pfn
    if (!this.#domain.pageType(top).pinned) this.#report('top-not-pinned', `pfn ${hex(top)} in cr3 is not pinned`)
    const { p2m, vcpus } = this.#domain
    const extended = (vcpus[0]?.pv?.vmAssist ?? 0) & VMASST_PAE_EXTENDED_CR3
    const mfn = p2m.mfn(top) ?? 0
    if (this.#isPaeL3(this.#root.level) && !extended && mfn >= PAE_L3_MFN_END) {
      this.#report('pae-l3-high', `the L3 is in mfn ${hex(mfn)}, at or above ${hex(PAE_L3_MFN_END)}`)
    }
  }

  #checkEntries(table: TablePage): void {
    const is64 = this.#domain.abi === 'x86_64'
    const paeTop = this.#isPaeL3(table.level)
    const allowed =
      table.level === 1 ? ALLOWED_PTE_FLAGS.l1 : paeTop ? ALLOWED_PTE_FLAGS.paeL3 : ALLOWED_PTE_FLAGS.table
    const count = paeTop ? PAE_L3_ENTRIES : table.entries.length
    for (let index = 0; index < count; index++) {
      const entry = table.entries[index] as bigint
      if (!(entry & BigInt(PTE_PRESENT))) continue
      const path = () => [...table.path, { level: table.level, pfn: table.pfn, index, entry }]
      if (this.#isXens(table, index)) {
        this.#report('xen-hole', `${hex(entryVaddr(this.#domain, table, index))} belongs to Xen and is mapped`, path())
        continue
      }
      const large = (table.level === 2 || (is64 && table.level === 3)) && (entry & BigInt(PTE_PSE)) !== 0n
      const flags = entry & ~PTE_ADDR_MASK & ~allowed
      if (large) this.#report('superpage', `an L${table.level} entry maps a large page: ${hex(entry)}`, path())
      else if (flags !== 0n)
        this.#report('bad-flags', `flags ${hex(flags)} are not allowed in L${table.level}: ${hex(entry)}`, path())
      const pfn = entryPfn(this.#domain, entry, table.level)
      if (pfn === undefined) {
        this.#report('not-in-p2m', `mfn ${hex((entry & PTE_ADDR_MASK) >> 12n)} is outside the guest`, path())
      } else if (this.#isLinear(table.level, pfn)) {
        if (entry & BigInt(PTE_RW)) {
          this.#report('two-levels', `a writable L${table.level} entry names an L${table.level}: ${hex(entry)}`, path())
        }
      } else if (table.level === 1 && entry & BigInt(PTE_RW)) {
        const level = this.#levels.get(pfn) ?? this.#domain.pageType(pfn).level
        if (level !== 0)
          this.#report('table-writable', `pfn ${hex(pfn)}, an L${level} table, is mapped writable`, path())
      }
    }
  }

  /**
   * Returns whether an entry names a table of the same level, so that the tables below appear in the address space. Xen
   * lets a guest do so read-only, except for a PAE L3.
   */
  #isLinear(level: number, pfn: Pfn | undefined): boolean {
    if (level === 1 || this.#isPaeL3(level)) return false
    return pfn !== undefined && this.#domain.pageType(pfn).level === level
  }

  #isPaeL3(level: number): boolean {
    return level === 3 && this.#domain.abi === 'x86_32p'
  }

  /** Returns whether the address that an entry translates belongs to Xen. */
  #isXens(table: TablePage, index: number): boolean {
    if (this.#domain.abi === 'x86_64') {
      return table.level === 4 && index >= HYPERVISOR_L4_SLOTS.start && index < HYPERVISOR_L4_SLOTS.end
    }
    return table.level === 2 && entryVaddr(this.#domain, table, index) >= BigInt(HYPERVISOR_VIRT_START_PAE)
  }

  #checkPae(): void {
    const [top] = this.#tables
    const slot = (index: number) => top?.entries[index] ?? 0n
    if (!(slot(PAE_XEN_L3_SLOT) & BigInt(PTE_PRESENT))) {
      this.#report('pae-slot-3', `L3 slot ${PAE_XEN_L3_SLOT} is not present: ${hex(slot(PAE_XEN_L3_SLOT))}`)
      return
    }
    for (let index = 0; index < PAE_XEN_L3_SLOT; index++) {
      const entry = slot(index)
      if (entry & BigInt(PTE_PRESENT) && entry >> 12n === slot(PAE_XEN_L3_SLOT) >> 12n) {
        this.#report('pae-l2-shared', `slot ${index} has the L2 of slot ${PAE_XEN_L3_SLOT}`, [
          { level: 3, pfn: top?.pfn ?? 0, index, entry },
        ])
      }
    }
  }

  #checkRegisters(): void {
    const [vcpu] = this.#domain.vcpus
    if (!vcpu) return
    const { rip, rsp, rsi } = vcpu.registers
    if (!translate(this.#domain, rip)) this.#report('entry-not-mapped', `the entry ${hex(rip)} is not mapped`)
    if (!translate(this.#domain, rsp - 1n)?.writable) {
      this.#report('stack-not-writable', `the stack below ${hex(rsp)} is not mapped writable`)
    }
    // A vcpu that has run may have any value in %rsi.
    const { startInfo } = requirePv(this.#domain)
    if (vcpu.pv?.context === undefined && translate(this.#domain, rsi)?.pfn !== startInfo.pfn) {
      this.#report('start-info-not-mapped', `${hex(rsi)} does not lead to start_info at pfn ${hex(startInfo.pfn)}`)
    }
  }
}
