/**
 * The code that enters a guest on a machine without a hypervisor: the states it cannot set up, and the page it needs.
 *
 * Source: lib/snapshot/enter-state.ts, lib/snapshot/bare-guest.ts. test/qemu runs such code.
 * Gotcha: the code is assembled for an address, so a state that is refused must be refused before that.
 */
import t from 'tap'
import { CR0_PE } from '../../lib/abi/x86.js'
import { SystemAssembler } from '../../lib/asm/system.js'
import { waitingVcpu } from '../../lib/guest/vcpu.js'
import { buildDomain, type Domain, PAGE_SIZE, readKernel, type Vcpu } from '../../lib/index.js'
import { freePage, requireBareGuest } from '../../lib/snapshot/bare-guest.js'
import { enterState } from '../../lib/snapshot/enter-state.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { pagedGuest } from '../fixtures/paged-guest.js'

const PAGE = 0x7000
const flat: Vcpu = { ...waitingVcpu(0), cr0: BigInt(CR0_PE) }
const enter = (vcpu: Vcpu): number => {
  const a = new SystemAssembler(PAGE, 32)
  enterState(a, vcpu)
  return a.length
}

t.test('a state that 32-bit code cannot set up is refused', async (t) => {
  const high = 1n << 32n
  const cases: Readonly<Record<string, readonly [Partial<Vcpu>, RegExp]>> = {
    'real mode': [{ cr0: 0n }, /cr0 cannot be set .*: expected protected mode, found 0x0$/],
    cr0: [{ cr0: high | 1n }, /the vcpu's cr0 cannot be set .*: expected 32 bits, found 0x100000001$/],
    cr3: [{ cr3: high }, /cr3 cannot be set .*: expected page tables below 4 GiB, found 0x100000000$/],
    cr4: [{ cr4: high }, /cr4 cannot be set .*: expected 32 bits, found 0x100000000$/],
    efer: [{ efer: high }, /efer cannot be set .*: expected 32 bits, found 0x100000000$/],
    rip: [
      { registers: { ...flat.registers, rip: high } },
      /rip cannot be set .*: expected an address below 4 GiB, found 0x100000000$/,
    ],
    gdtr: [{ gdtr: { base: high, limit: 7 } }, /GDT cannot be set .*: expected a base below 4 GiB, found 0x100000000$/],
  }
  for (const [name, [state, message]] of Object.entries(cases)) {
    t.throws(() => enter({ ...flat, ...state }), { code: 'does-not-fit', message }, name)
  }
  t.ok(enter(flat) < PAGE_SIZE)
})

t.test('the GDT of a guest without one has its segments under their selectors', async (t) => {
  const descriptor = { base: 0n, limit: 0xfffff, attributes: 0xc93 }
  const withDs = (selector: number): Vcpu => ({
    ...flat,
    segments: { ...flat.segments, ds: { selector, descriptor } },
  })
  t.equal(enter(withDs(0x18)) - enter(withDs(0x10)), 8, 'one entry more')
  t.throws(() => enter(withDs(3)), {
    code: 'does-not-fit',
    message: 'the selector of a segment with a descriptor is too small: expected a selector of 8 or more, found 0x3',
  })
  t.throws(() => enter(withDs(0x1000)), {
    code: 'does-not-fit',
    message: /^the GDT that the selectors need is too large: expected at most 3840 bytes in all, found \d+$/,
  })
  const tr = { selector: 0x20 }
  t.ok(enter({ ...flat, tr }) > enter(flat), 'a task register without a descriptor is loaded too')
})

t.test('a guest that needs a hypervisor is refused', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const pvh = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory: 2 ** 25, purpose: 'vmm' })
  t.equal(requireBareGuest(pvh, 'QEMU'), pvh.vcpus[0])
  for (const [domain, message] of [
    [
      buildDomain(kernel, { type: 'pv', memory: 2 ** 23 }),
      /^the guest needs Xen: QEMU .*: expected pvh or linux, found pv$/,
    ],
    [{ ...pvh, vcpus: [] }, /^the guest needs Xen: QEMU .*, found pvh$/],
    [{ ...pvh, type: 'hvm' } as Domain, /^the guest needs the state of its devices, which QEMU .*, found hvm$/],
  ] as const)
    t.throws(() => requireBareGuest(domain, 'QEMU'), { code: 'does-not-fit', message })
})

t.test('the page of the code is free, and mapped to itself where there is paging', async (t) => {
  const paged = pagedGuest(
    16,
    new Map([
      [0x3000n, 3],
      [0x5000n, 6],
    ]),
    [{ name: 'x', pfn: 4, pages: 1 }],
  )
  t.equal(freePage(paged, [4, 5, 3, 100]), 0x3000)
  t.throws(() => freePage(paged, [4, 5]), {
    code: 'does-not-fit',
    message: /is missing: expected a free page that the tables map to itself, found 2 pages that are taken/,
  })
  const kernel = await readKernel(pvhKernelFile())
  const plain = buildDomain(kernel, { type: 'pvh', memory: 5 * 2 ** 30, purpose: 'vmm' })
  t.equal(freePage(plain, [0x100000, 0xfffff, 0x300]), 0x300000, 'below 4 GiB, in the memory')
  t.throws(() => freePage(plain, [0x100000]), { message: /is missing: expected a free page, found 1 pages/ })
  const pv = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 2 ** 23 })
  t.throws(() => freePage(pv, []), { message: /found 0 pages/ }, 'Xen tells a PV guest its map')
})
