/**
 * Tests of the comparison itself: two equal guests have no difference; it names one changed byte anywhere.
 *
 * Source: our own; the guest is a kernel of three pages built by both.
 * Gotcha: a comparison that skips holes would miss bytes there, so this changes an image's holes too.
 */
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Domain, requirePv } from '../../lib/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { expectSameGuest, guestDifferences } from './compare.js'
import { buildOurs, buildTheirs, type GuestSpec } from './guest-spec.js'
import { findOracle, type OracleGuest } from './oracle.js'
import { requirePeer } from './require-peer.js'

async function both(
  t: Test,
  spec: GuestSpec,
  elfClass: 32 | 64 = 64,
): Promise<{ domain: Domain; guest: OracleGuest } | undefined> {
  if (!(await requirePeer(t, findOracle))) return undefined
  const file = join(t.testdir(), 'kernel')
  const kernel = pvKernelFile({ class: elfClass, pages: 3 })
  await writeFile(file, kernel)
  const ours = await buildOurs(kernel, spec)
  const guest = await buildTheirs(file, spec)
  t.teardown(guest.remove)
  if (ours.outcome !== 'built' || guest.outcome !== 'built') {
    t.fail('one of them refuses')
    return undefined
  }
  return { domain: ours.domain, guest }
}

async function flip(file: string, at: number): Promise<void> {
  const handle = await open(file, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, at)
  byte[0] = (byte[0] ?? 0) ^ 0x40
  await handle.write(byte, 0, 1, at)
  await handle.close()
}

for (const elfClass of [64, 32] as const) {
  t.test(`${elfClass}-bit: one changed byte is found`, async (t) => {
    const pair = await both(t, { memoryMiB: 64, cmdline: 'a=b', ramdisks: [Buffer.alloc(4095, 1)] }, elfClass)
    if (!pair) return
    const { domain, guest } = pair
    expectSameGuest(t, domain, guest)
    const expectFound = (pattern: RegExp) => t.match(guestDifferences(domain, guest).join('\n'), pattern)
    const changed = async (file: string, at: number, pattern: RegExp) => {
      await flip(file, at)
      expectFound(pattern)
      await flip(file, at)
    }
    await changed(guest.memory, 0x100000 + 0x1234, /memory: kernel, pfn 0x101 \+ 0x230: ours/)
    await changed(guest.memory, requirePv(domain).pageTables.top * 4096, /memory: page_tables/)
    await changed(guest.startInfo, 32, /start_info\.nr_pages: ours .*, theirs/)
    await changed(guest.startInfo, 4095, /start_info: the fields are equal, the padding is not/)
    await changed(guest.sharedInfo, 4000, /shared_info: byte 0xfa0/)
    await changed(guest.vcpu, 512, /vcpu\.flags/)
    t.strictSame(guestDifferences(domain, guest), [], 'everything is as it was')
  })
}

t.test('what is written where the image has no bytes is found', async (t) => {
  const pair = await both(t, { memoryMiB: 64 })
  if (!pair) return
  const { domain, guest } = pair
  domain.memory.write(0x3000123, Uint8Array.of(1))
  t.match(guestDifferences(domain, guest), [
    /^memory: outside all regions, pfn 0x3000 \+ 0x120: ours 0x1000000, theirs 0x0$/,
  ])
})

t.test('what the image has where we wrote nothing is found', async (t) => {
  const pair = await both(t, { memoryMiB: 64 })
  if (!pair) return
  const { domain, guest } = pair
  await flip(guest.memory, 0x2000000)
  const { layout } = guest
  const extents = [...layout.extents, [0x2000000, 0x2001000] as const]
  t.match(guestDifferences(domain, { ...guest, layout: { ...layout, extents } }), [/^memory: outside .*theirs 0x40$/])
})

t.test('page types, pins, regions and grants are compared', async (t) => {
  const pair = await both(t, { memoryMiB: 64 })
  if (!pair) return
  const { domain, guest } = pair
  const boot = requirePv(domain)
  const top = boot.pageTables.top
  const expectFound = (other: Partial<Domain>, pattern: RegExp) =>
    t.match(guestDifferences({ ...domain, ...other }, guest).join('\n'), pattern)
  expectFound({ pageType: (pfn) => ({ ...domain.pageType(pfn), pinned: false }) }, /not pinned/)
  expectFound(
    { pageType: (pfn) => (pfn === top + 1 ? { level: 1, pinned: false } : domain.pageType(pfn)) },
    /ours L1, theirs L3/,
  )
  expectFound(
    { pageType: (pfn) => (pfn === top - 1 ? { level: 1, pinned: false } : domain.pageType(pfn)) },
    /ours L1, theirs L0/,
  )
  expectFound({ regions: domain.regions.slice(1) }, /^regions: ours/)
  expectFound({ regions: domain.regions.map((r) => ({ ...r, vaddr: 0x1000n })) }, /regions: kernel at 0x1000/)
  expectFound({ boot: { ...boot, grants: boot.grants.slice(1) } }, /grants: ours/)
  expectFound({ vcpus: [] }, /vcpu: ours has none/)
})
