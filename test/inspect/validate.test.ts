/**
 * validate against tables damaged on purpose, one rule at a time: each kind is named, with its way from cr3.
 *
 * Source: lib/inspect/validate.ts.
 * Gotcha: damage may break more than one rule; the one it is about must be among those reported, and a sound guest has none.
 */
import t from 'tap'
import { buildDomain, type Domain, type PvMmuRule, readKernel, translate, validate } from '../../lib/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pvKernelFile } from '../fixtures/kernels.js'

const PRESENT_RW = 0x23n
const frame = (pfn: number): bigint => BigInt(pfn) << 12n

async function guest(elfClass: 32 | 64): Promise<Domain> {
  return buildDomain(await readKernel(pvKernelFile({ class: elfClass })), { type: 'pv', memory: 32 * 2 ** 20 })
}

/** Sets an entry of the table on the way to `vaddr` at that level; `index` picks another slot of the same table. */
function setEntry(
  domain: Domain,
  vaddr: bigint,
  level: number,
  change: (entry: bigint) => bigint,
  index?: number,
): void {
  const step = translate(domain, vaddr)?.path.find((one) => one.level === level)
  if (!step) throw new Error(`no L${level} on the way`)
  const slot = index ?? step.index
  const at = step.pfn * PAGE_SIZE + slot * 8
  const old = new DataView(domain.memory.read(at, 8).buffer).getBigUint64(0, true)
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, change(old), true)
  domain.memory.write(at, bytes)
}

const region = (domain: Domain, name: string) => domain.regions.find((one) => one.name === name) ?? domain.regions[0]
const tableAt = (domain: Domain, vaddr: bigint, level: number): number =>
  translate(domain, vaddr)?.path.find((one) => one.level === level)?.pfn ?? -1
const kernelAt = (domain: Domain): bigint => region(domain, 'kernel')?.vaddr ?? 0n

interface Damage {
  readonly what: string
  readonly class: 32 | 64
  readonly rule: PvMmuRule
  readonly path?: RegExp | number
  readonly damage: (domain: Domain) => Domain | undefined
}

/** A copy of the guest with its vcpu 0 or its page types changed. */
const withVcpu = (domain: Domain, changes: object): Domain => {
  const [vcpu, ...rest] = domain.vcpus
  return { ...domain, vcpus: [{ ...vcpu, ...changes } as Domain['vcpus'][number], ...rest] }
}

const DAMAGES: readonly Damage[] = [
  {
    what: 'an L1 table mapped writable',
    class: 64,
    rule: 'table-writable',
    path: 4,
    damage: (d) => void setEntry(d, region(d, 'page_tables')?.vaddr ?? 0n, 1, (e) => e | 2n),
  },
  {
    what: 'the top table mapped writable through a page of the kernel',
    class: 64,
    rule: 'table-writable',
    path: 4,
    damage: (d) =>
      void setEntry(
        d,
        kernelAt(d),
        1,
        () => frame(d.boot.kind === 'start_info' ? d.boot.pageTables.top : 0) | PRESENT_RW,
      ),
  },
  {
    what: 'a PAE L2 mapped writable',
    class: 32,
    rule: 'table-writable',
    path: 3,
    damage: (d) => void setEntry(d, kernelAt(d), 1, () => frame(tableAt(d, kernelAt(d), 2)) | PRESENT_RW),
  },
  {
    what: 'an L1 declared ordinary',
    class: 64,
    rule: 'wrong-type',
    path: 3,
    damage: (d) => retype(d, tableAt(d, kernelAt(d), 1), 0),
  },
  {
    what: 'an L2 declared L1',
    class: 64,
    rule: 'wrong-type',
    path: 2,
    damage: (d) => retype(d, tableAt(d, kernelAt(d), 2), 1),
  },
  {
    what: 'the top declared L3',
    class: 64,
    rule: 'wrong-type',
    path: 0,
    damage: (d) => retype(d, tableAt(d, kernelAt(d), 4), 3),
  },
  {
    what: 'the top of a PAE guest declared L4',
    class: 32,
    rule: 'wrong-type',
    path: 0,
    damage: (d) => retype(d, tableAt(d, kernelAt(d), 3), 4),
  },
  {
    what: 'the top not pinned',
    class: 64,
    rule: 'top-not-pinned',
    damage: (d) => ({ ...d, pageType: (pfn) => ({ ...d.pageType(pfn), pinned: false }) }),
  },
  {
    what: 'an L1 used as L2 too',
    class: 64,
    rule: 'two-levels',
    damage: (d) => void setEntry(d, kernelAt(d), 3, () => frame(tableAt(d, kernelAt(d), 1)) | 0x67n, 0),
  },
  {
    what: 'a table that names itself',
    class: 64,
    rule: 'two-levels',
    damage: (d) => void setEntry(d, kernelAt(d), 4, () => frame(tableAt(d, kernelAt(d), 4)) | 0x67n, 300),
  },
  {
    what: 'a leaf beyond the p2m',
    class: 64,
    rule: 'not-in-p2m',
    path: 4,
    damage: (d) => void setEntry(d, kernelAt(d), 1, () => frame(8192) | PRESENT_RW),
  },
  {
    what: 'a leaf at the end of physical addresses',
    class: 64,
    rule: 'not-in-p2m',
    path: 4,
    damage: (d) => void setEntry(d, kernelAt(d), 1, () => frame(2 ** 40 - 1) | PRESENT_RW),
  },
  {
    what: 'an L2 entry beyond the p2m',
    class: 64,
    rule: 'not-in-p2m',
    path: 3,
    damage: (d) => void setEntry(d, kernelAt(d), 2, () => frame(9000) | 0x67n, 5),
  },
  {
    what: 'a PAE leaf beyond the p2m',
    class: 32,
    rule: 'not-in-p2m',
    path: 3,
    damage: (d) => void setEntry(d, kernelAt(d), 1, () => frame(8192) | PRESENT_RW),
  },
  { what: 'cr3 beyond the p2m', class: 64, rule: 'cr3-not-in-p2m', damage: (d) => withVcpu(d, { cr3: frame(9999) }) },
  {
    what: 'a leaf with cache attributes',
    class: 64,
    rule: 'bad-flags',
    path: 4,
    damage: (d) => void setEntry(d, kernelAt(d), 1, (e) => e | 0x18n),
  },
  {
    what: 'a global L2 entry',
    class: 64,
    rule: 'bad-flags',
    path: 3,
    damage: (d) => void setEntry(d, kernelAt(d), 2, (e) => e | 0x100n),
  },
  {
    what: 'an L4 entry with bit 7',
    class: 64,
    rule: 'bad-flags',
    path: 1,
    damage: (d) => void setEntry(d, kernelAt(d), 4, (e) => e | 0x80n),
  },
  {
    what: 'a PAE L3 entry with NX',
    class: 32,
    rule: 'bad-flags',
    path: 1,
    damage: (d) => void setEntry(d, kernelAt(d), 3, (e) => e | (1n << 63n)),
  },
  {
    what: 'a large page at L2',
    class: 64,
    rule: 'superpage',
    path: 3,
    damage: (d) => void setEntry(d, kernelAt(d), 2, () => frame(512) | 0xe3n, 7),
  },
  {
    what: 'a large page at L3',
    class: 64,
    rule: 'superpage',
    path: 2,
    damage: (d) => void setEntry(d, kernelAt(d), 3, () => 0xe3n, 7),
  },
  {
    what: "an L4 slot of Xen's",
    class: 64,
    rule: 'xen-hole',
    path: 1,
    damage: (d) => void setEntry(d, kernelAt(d), 4, () => frame(tableAt(d, kernelAt(d), 3)) | 0x67n, 256),
  },
  {
    what: "a PAE address of Xen's",
    class: 32,
    rule: 'xen-hole',
    path: 2,
    damage: (d) => void setEntry(d, kernelAt(d), 2, () => frame(tableAt(d, kernelAt(d), 1)) | 0x67n, 0x1ac),
  },
  {
    what: 'no L2 in slot 3',
    class: 32,
    rule: 'pae-slot-3',
    damage: (d) => void setEntry(d, kernelAt(d), 3, () => 0n, 3),
  },
  {
    what: "slot 3's L2 in slot 0 too",
    class: 32,
    rule: 'pae-l2-shared',
    path: 1,
    damage: (d) => void setEntry(d, kernelAt(d), 3, () => frame(tableAt(d, kernelAt(d), 2)) | 0x67n, 0),
  },
  {
    what: 'the entry not mapped',
    class: 64,
    rule: 'entry-not-mapped',
    damage: (d) => void setEntry(d, kernelAt(d), 1, () => 0n),
  },
  {
    what: 'the stack read-only',
    class: 64,
    rule: 'stack-not-writable',
    damage: (d) => void setEntry(d, region(d, 'boot_stack')?.vaddr ?? 0n, 1, (e) => e & ~2n),
  },
  {
    what: '%rsi beside start_info',
    class: 64,
    rule: 'start-info-not-mapped',
    damage: (d) => withVcpu(d, { registers: { ...d.vcpus[0]?.registers, rsi: kernelAt(d) } }),
  },
]

function retype(domain: Domain, pfn: number, level: 0 | 1 | 2 | 3 | 4): Domain {
  return { ...domain, pageType: (at) => (at === pfn ? { ...domain.pageType(at), level } : domain.pageType(at)) }
}

t.test('a sound guest has no violation', async (t) => {
  t.same(validate(await guest(64)), [])
  t.same(validate(await guest(32)), [])
})

t.test(`${DAMAGES.length} kinds of damage, each named`, async (t) => {
  for (const { what, class: elfClass, rule, path, damage } of DAMAGES) {
    const sound = await guest(elfClass)
    const damaged = damage(sound) ?? sound
    const found = validate(damaged).find((violation) => violation.rule === rule)
    t.ok(found, `${what}: ${rule}`)
    if (typeof path === 'number') t.equal(found?.path.length, path, `${what}: its way from cr3`)
  }
})

t.test('a PAE L3 above 4 GiB, without extended cr3', async (t) => {
  const built = buildDomain(await readKernel(pvKernelFile({ class: 32 })), {
    type: 'pv',
    memory: 32 * 2 ** 20,
    p2m: { offset: 0x100000 },
  })
  t.same(validate(built), [], 'with it, anywhere')
  const [vcpu] = built.vcpus
  const without = withVcpu(built, { pv: { ...vcpu?.pv, vmAssist: 0 } })
  t.same(
    validate(without).map(({ rule }) => rule),
    ['pae-l3-high'],
  )
})
