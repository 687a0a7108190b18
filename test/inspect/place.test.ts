/**
 * Addresses as people write them: numbers, registers, regions, symbols, and offsets.
 *
 * Source: ../../lib/inspect/place.ts.
 * Gotcha: a name with two meanings must be refused, and each way to write it that the message gives must work.
 */
import t from 'tap'
import { type Domain, needsSymbols, type Place, resolvePlace, seenBy, symbolTable, translate } from '../../lib/index.js'
import { pagedGuest } from '../fixtures/paged-guest.js'

const HIGH = 0xffffffff81000000n

/** Two vcpus; the second one has other tables, in which the same address leads to another page. */
function guest(): Domain {
  const regions = [
    { name: 'kernel', pfn: 4, pages: 2 },
    { name: 'page_tables', pfn: 6, pages: 1 },
    { name: 'boot_params', pfn: 7, pages: 1 },
    { name: 'page_tables', pfn: 2, pages: 1 },
    { name: 'odd-16', pfn: 1, pages: 1 },
  ]
  const domain = pagedGuest(16, new Map([[HIGH, 4]]), regions)
  const [first] = domain.vcpus
  if (first === undefined) throw new Error('no vcpu')
  const registers = { ...first.registers, rsi: HIGH + 0x10n, rip: 0xffffffff_00001000n }
  return {
    ...domain,
    vcpus: [
      { ...first, registers, gdtr: { base: 0x5000n, limit: 39 } },
      { ...first, id: 1, cr3: 0x3000n, registers: { ...registers, rsi: 0x42n } },
    ],
  }
}

const symbols = symbolTable([
  { name: 'start_kernel', address: HIGH + 0x100n, type: 'T' },
  { name: 'boot_params', address: HIGH + 0x200n, type: 'D' },
  { name: 'init', address: HIGH + 0x300n, type: 't' },
  { name: 'init', address: HIGH + 0x400n, type: 't' },
  { name: 'rdx', address: HIGH + 0x500n, type: 't' },
])

const physical = (paddr: number): Place => ({ space: 'physical', paddr })
const virtual = (vaddr: bigint, vcpu = 0): Place => ({ space: 'virtual', vaddr, vcpu })

t.test('the place of each form', async (t) => {
  const domain = guest()
  for (const [text, place] of [
    ['0x1000', physical(0x1000)],
    ['4096', physical(4096)],
    ['16M', physical(2 ** 24)],
    ['1.5K', physical(1536)],
    ['0x10+0x10', physical(0x20)],
    [' 64K - 1 ', physical(0xffff)],
    ['rsi', virtual(HIGH + 0x10n)],
    ['RSI', virtual(HIGH + 0x10n)],
    ['rsi+4K', virtual(HIGH + 0x1010n)],
    ['rsi-16', virtual(HIGH)],
    ['eip', virtual(0x1000n)],
    ['gdtr', virtual(0x5000n)],
    ['vcpu0:rsi', virtual(HIGH + 0x10n)],
    ['vcpu1:rsi', virtual(0x42n, 1)],
    ['vcpu1:cr3', physical(0x3000)],
    ['cr3+8', physical(16 * 4096 + 8)],
    ['kernel', physical(0x4000)],
    ['kernel+0x10', physical(0x4010)],
    ['page_tables', physical(0x6000)],
    ['region:kernel', physical(0x4000)],
    ['region:odd-16', physical(0x1000)],
    ['odd-16', physical(0x1000)],
    ['odd-16-0x10', physical(0xff0)],
    ['start_kernel', virtual(HIGH + 0x100n)],
    ['start_kernel+0x10', virtual(HIGH + 0x110n)],
    ['symbol:boot_params', virtual(HIGH + 0x200n)],
    ['region:boot_params', physical(0x7000)],
    ['symbol:rdx', virtual(HIGH + 0x500n)],
  ] as const) {
    t.same(resolvePlace(domain, text, { symbols }), place, text)
  }
  t.same(resolvePlace(domain, '0x1000', { numbers: 'virtual' }), virtual(0x1000n))
  t.same(resolvePlace(domain, '0xffffffffffffffff', { numbers: 'virtual' }), virtual(2n ** 64n - 1n))
  t.same(resolvePlace(domain, 'kernel', { numbers: 'virtual' }), physical(0x4000), 'a name tells its own space')
  t.same(resolvePlace(domain, 'boot_params'), physical(0x7000), 'one meaning, without symbols')
})

t.test('a register where paging is off, and in real mode', async (t) => {
  const domain = guest()
  const [first] = domain.vcpus
  if (first === undefined) throw new Error('no vcpu')
  const descriptor = { base: 0x90000n, limit: 0xffff, attributes: 0x9b }
  const real = {
    ...first,
    cr0: 0n,
    registers: { ...first.registers, rip: 0x200n, rsi: 0x10n },
    segments: { ...first.segments, cs: { selector: 0x9000, descriptor } },
  }
  t.same(resolvePlace({ ...domain, vcpus: [real] }, 'rip'), physical(0x90200))
  t.same(resolvePlace({ ...domain, vcpus: [real] }, 'rsi'), physical(0x10))
  t.same(
    resolvePlace({ ...domain, vcpus: [{ ...real, cr0: 1n }] }, 'rip'),
    physical(0x200),
    'in protected mode a base is 0',
  )
})

t.test('a vcpu sees its own tables', async (t) => {
  const domain = guest()
  t.equal(translate(domain, HIGH)?.paddr, 0x4000)
  t.equal(translate(seenBy(domain, 1), HIGH), undefined)
  t.equal(seenBy(domain, 0), domain)
  t.throws(() => seenBy(domain, 2), {
    code: 'bad-range',
    message: /the vcpu does not exist: expected at most 1, found 2/,
  })
})

t.test('refused', async (t) => {
  const domain = guest()
  for (const [text, code, message] of [
    ['', 'bad-config', /the address is unknown/],
    ['kernle', 'bad-config', /found 'kernle'; did you mean kernel\?/],
    ['region:start_kernel', 'bad-config', /the address is unknown/],
    ['symbol:kernel', 'bad-config', /the address is unknown/],
    ['vcpu0:kernel', 'bad-config', /the address is unknown/],
    ['vcpu7:rip', 'bad-range', /the vcpu does not exist/],
    ['rax-1', 'bad-range', /the address 'rax-1' is out of range/],
    ['0x10-0x20', 'bad-range', /out of range/],
    ['0xfffffffffffffff', 'bad-range', /the physical address is out of range/],
    [
      'boot_params',
      'bad-config',
      /'boot_params' has 2 meanings: expected one of them: region:boot_params, symbol:boot_params/,
    ],
    ['init', 'bad-config', /'init' has 2 meanings: expected one of them: 0xffffffff81000300, 0xffffffff81000400/],
    ['rdx+1', 'bad-config', /'rdx' has 2 meanings: expected one of them: vcpu0:rdx, symbol:rdx/],
  ] as const) {
    t.throws(() => resolvePlace(domain, text, { symbols }), { code, message }, text)
  }
  const { gdtr: _, ...without } = domain.vcpus[0] as NonNullable<(typeof domain.vcpus)[0]>
  t.throws(() => resolvePlace({ ...domain, vcpus: [without] }, 'gdtr'), {
    code: 'bad-config',
    message: /gdtr is unknown/,
  })
})

t.test('when symbols are needed', async (t) => {
  const domain = guest()
  for (const text of ['start_kernel', 'start_kernel+1', 'symbol:kernel', 'xyz']) t.ok(needsSymbols(domain, text), text)
  for (const text of ['0x10', '4K', 'rsi+1', 'kernel', 'vcpu1:foo', 'region:foo', 'boot_params'])
    t.notOk(needsSymbols(domain, text), text)
})
