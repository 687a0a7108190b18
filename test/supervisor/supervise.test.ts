/** The machine that supervise() makes, without running it: where everything is, and what it refuses. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { HYPERCALL } from '../../lib/abi/hypercall.js'
import { SharedInfo64 } from '../../lib/abi/shared-info.js'
import { HYPERVISOR_L4_SLOTS, MACH2PHYS_VIRT_START } from '../../lib/abi/xen-x86-64.js'
import { equal } from '../../lib/bytes.js'
import { hypercallPage } from '../../lib/guest/hypercall-page.js'
import { buildDomain, type Domain, type PvConfig, readKernel, readVirtual, requirePv } from '../../lib/index.js'
import { qemuFormat } from '../../lib/snapshot/qemu.js'
import { HYPERCALLS } from '../../lib/supervisor/assembler.js'
import { SUPERVISED } from '../../lib/supervisor/calls.js'
import { direct, IMAGE_VIRT } from '../../lib/supervisor/layout.js'
import { supervise, translate } from '../../lib/testing/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { probeKernel } from '../fixtures/probe-kernel.js'
import { pv64Kernel } from '../fixtures/pv64-kernel.js'
import { projectRoot } from '../peer/paths.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const PAGE = 4096

const kernel = await readKernel(pv64Kernel(() => undefined))
const guestOf = (config: Partial<PvConfig> = {}): Domain =>
  buildDomain(kernel, { type: 'pv', memory: 16 * MiB, ...config })
/** Scattered over the machine, backwards, with a hole. */
const scattered = {
  p2m: { function: (pfn: number) => (pfn === 4000 ? undefined : 0x5000 + 3 * (4095 - pfn)), name: 'scattered' },
  sharedInfoMfn: 0x4000,
}

t.test('each page of the guest is at its machine frame', async (t) => {
  for (const config of [{}, { p2m: { offset: 0x100 } }, { p2m: { offset: 0x123456 } }, scattered]) {
    const guest = guestOf(config)
    const machine = supervise(guest)
    const { sharedInfoMfn, pageTables } = requirePv(guest)
    const isTable = (pfn: number) => pageTables.runs.some((run) => pfn >= run.pfn && pfn < run.pfn + run.pages)
    let pages = 0
    for (const run of guest.memory.pages()) {
      for (let pfn = run.pfn; pfn < run.pfn + run.pages; pfn++, pages++) {
        if (isTable(pfn)) continue
        const there = machine.memory.read((guest.p2m.mfn(pfn) ?? 0) * PAGE, PAGE)
        if (!equal(there, guest.memory.read(pfn * PAGE, PAGE))) t.fail(`page ${pfn}`)
      }
    }
    t.ok(pages > 10, `${guest.p2m.name}: ${pages} pages`)
    const info = SharedInfo64.decode(machine.memory.read(sharedInfoMfn * PAGE, PAGE))
    t.equal(info.vcpu_info[0]?.evtchn_upcall_mask, 1)
    t.equal(info.vcpu_info[0]?.time.tsc_to_system_mul, 0x80000000, 'and a clock')
  }
})

t.test("the guest finds its own mappings as the user, and in Xen's slots only the table of frames", async (t) => {
  const guest = guestOf(scattered)
  const machine = supervise(guest)
  const [first] = machine.vcpus
  const [own] = guest.vcpus
  if (first === undefined || own === undefined) return
  const inGuest = { ...machine, vcpus: [{ ...first, cr3: own.cr3 }] }
  for (const { name, pfn, vaddr } of guest.regions) {
    if (vaddr === undefined) continue
    const found = translate(inGuest, vaddr)
    t.equal(found?.pfn, guest.p2m.mfn(pfn), name)
    t.ok(found?.user, `${name} is the user's`)
    t.equal(found?.writable, translate(guest, vaddr)?.writable, `${name} is as writable as it was`)
  }
  for (const pfn of [0, 1, 3999, 4095]) {
    const entry = MACH2PHYS_VIRT_START + 8n * BigInt(guest.p2m.mfn(pfn) ?? 0)
    const found = translate(inGuest, entry)
    t.same([found?.user, found?.writable], [true, false])
    t.equal(new DataView(readVirtual(inGuest, entry, 8).buffer).getBigUint64(0, true), BigInt(pfn))
    const next = new DataView(readVirtual(inGuest, entry + 8n, 8).buffer).getBigUint64(0, true)
    t.equal(next, 2n ** 64n - 1n, "a frame that is not the guest's")
  }
  for (const vaddr of [IMAGE_VIRT, direct(0), direct(0x4000 * PAGE)]) {
    const found = translate(inGuest, vaddr)
    t.same([found?.user, found?.writable], [false, true])
  }
  t.equal(translate(inGuest, direct(0x4123))?.paddr, 0x4123)
  t.equal(translate(machine, BigInt(first.cr3))?.paddr, Number(first.cr3), 'at the start, low memory is itself')
})

t.test('the supervisor takes no frame of the guest', async (t) => {
  for (const config of [{}, { p2m: { offset: 0x1000 } }, { p2m: { offset: 0x100000 } }, scattered]) {
    const guest = guestOf(config)
    const machine = supervise(guest)
    const taken = machine.regions.map(({ pfn, pages }) => [pfn, pfn + pages] as const).sort((a, b) => a[0] - b[0])
    for (const [i, [start]] of taken.entries()) {
      t.ok(start >= (taken[i - 1]?.[1] ?? 0), `${guest.p2m.name}: ${start}`)
    }
    t.ok((machine.regions.find(({ name }) => name === 'supervisor')?.pfn ?? 0) < 0xc0000, 'below 4 GiB')
    t.ok(machine.memory.has(guest.p2m.mfn(0) ?? -1))
  }
})

t.test('the hypercall page is filled', async (t) => {
  const guest = buildDomain(await readKernel(probeKernel('pv64')), { type: 'pv', memory: 16 * MiB, vcpus: 2 })
  const { hypercallPage: pfn = 0 } = requirePv(guest)
  const page = supervise(guest).memory.read((guest.p2m.mfn(pfn) ?? 0) * PAGE, PAGE)
  t.ok(equal(page, hypercallPage('x86_64')))
})

t.test('the same guest gives the same machine, and is not changed', async (t) => {
  const guest = guestOf(scattered)
  const bytes = () => Buffer.concat([...supervise(guest).memory.chunks()].map(({ bytes }) => bytes))
  const before = Buffer.concat([...guest.memory.chunks()].map(({ bytes }) => bytes))
  t.ok(bytes().equals(bytes()))
  t.ok(before.equals(Buffer.concat([...guest.memory.chunks()].map(({ bytes }) => bytes))))
})

t.test('holes stay holes: a guest of 1 TiB costs its own list of frames, and as much again', async (t) => {
  const guest = guestOf({ memory: 2 ** 40, p2m: { offset: 0x100000 } })
  const machine = supervise(guest)
  const list = 8 * 2 ** 28
  t.ok(machine.memory.placedBytes < 2.1 * list, `${machine.memory.placedBytes} bytes`)
  const last = (2 ** 28 - 1 + 0x100000) * 8
  const entry = MACH2PHYS_VIRT_START + BigInt(last)
  t.equal(new DataView(readVirtual(machine, entry, 8).buffer).getBigUint64(0, true), 2n ** 28n - 1n)
})

t.test('guests that it does not take', async (t) => {
  const pv32 = buildDomain(await readKernel(pvKernelFile({ class: 32 })), { type: 'pv', memory: 16 * MiB })
  t.throws(() => supervise(pv32), { code: 'bad-config', found: 'x86_32p' })
  t.throws(() => supervise(supervise(guestOf())), { code: 'bad-config', found: 'linux' })
  t.throws(() => supervise(guestOf({ memory: 5 * GiB })), { code: 'does-not-fit', message: /no RAM of the machine/ })
  t.throws(() => supervise(guestOf({ p2m: { offset: 2 ** 31 } })), { code: 'does-not-fit' })
  t.throws(() => supervise(guestOf({ p2m: { function: (pfn) => pfn % 4095 } })), { code: 'overlap' })
  const inRom = guestOf()
  inRom.memory.write(0xf8000, new Uint8Array([1]))
  t.throws(() => supervise(inRom), { code: 'does-not-fit', message: /the machine's ROM/ })
  // Every frame below 3 GiB.
  const full = guestOf({ memory: 3 * GiB, sharedInfoMfn: 0x100000 })
  t.throws(() => supervise(full), { code: 'does-not-fit', message: /no machine frames below 4 GiB/ })
})

t.test('the format qemu takes the machine', async (t) => {
  t.doesNotThrow(() => qemuFormat.write(supervise(guestOf(scattered)), {}))
})

t.test('the page lists each hypercall', async (t) => {
  const [, page = ''] = readFileSync(join(projectRoot, 'docs/unit-tests.md'), 'utf8').split('| hypercall | difference')
  const [table = ''] = page.split('\n\n')
  const listed = [...table.matchAll(/^\| ((?:`[a-z_]+`(?:, )?)+) \|/gm)].flatMap(
    ([, names = '']) => names.match(/[a-z_]+/g) ?? [],
  )
  t.same(listed.sort(), Object.keys(SUPERVISED).sort())
})

t.test('each hypercall has a number in the table', async (t) => {
  for (const name of Object.keys(SUPERVISED)) t.ok(HYPERCALL[name as keyof typeof HYPERCALL] < HYPERCALLS, name)
  t.equal(HYPERVISOR_L4_SLOTS.end - HYPERVISOR_L4_SLOTS.start, 16)
})
