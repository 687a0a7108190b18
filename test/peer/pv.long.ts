/**
 * Builds real kernels with this library and libxenguest in one run: the same guests to the last byte, equal refusals.
 *
 * Source: Debian's archive (kernels.ts), libxenguest (oracle.ts).
 * Gotcha: decompressing Debian's kernel takes most of a second on either side, so we read it once for all guests.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { readKernel } from '../../lib/index.js'
import { patternBytes } from '../../lib/testing/index.js'
import { guestDifferences } from './compare.js'
import { buildOurs, buildTheirs, type GuestSpec } from './guest-spec.js'
import { findKernel, KERNEL_NAMES, type KernelName } from './kernels.js'
import { findOracle } from './oracle.js'
import { requirePeer } from './require-peer.js'

const ODD_RAMDISK = patternBytes(4095, 7)
/** A large ramdisk that is not a whole number of pages. */
const LARGE_RAMDISK = patternBytes(5 * 2 ** 20 + 1, 8)

/** Returns an irregular p2m: frames in reverse from 0x800 on, with every second pair swapped. */
function scrambled(memoryMiB: number): { table: BigUint64Array } {
  const pages = memoryMiB * 256
  const table = new BigUint64Array(pages)
  // As 32-bit words: sixteen million bigints would take longer than the builders.
  const words = new Uint32Array(table.buffer)
  for (let pfn = 0; pfn < pages; pfn++) words[2 * pfn] = 0x800 + pages - 1 - (pfn ^ ((pfn & 2) >> 1))
  return { table }
}

/** Checks that both build it, and that both guests are the same. */
async function expectSame(t: Test, name: KernelName, specs: Readonly<Record<string, GuestSpec>>): Promise<void> {
  if (!(await requirePeer(t, findOracle))) return
  const path = await requirePeer(t, () => findKernel(name))
  if (!path) return
  const kernel = await readKernel(readFileSync(path))
  for (const [what, spec] of Object.entries(specs)) {
    const ours = await buildOurs(kernel, spec)
    const theirs = await buildTheirs(path, spec)
    if (ours.outcome === 'refused') t.fail(`${what}: we refuse: ${ours.error.message}`)
    else if (theirs.outcome !== 'built') t.fail(`${what}: libxenguest does not build it: ${theirs.reason}`)
    else t.strictSame(guestDifferences(ours.domain, theirs), [], what)
    await theirs.remove()
  }
}

/** Checks that both refuse it, and that our reason matches. */
async function expectRefused(t: Test, name: KernelName, spec: GuestSpec, reason: RegExp): Promise<void> {
  if (!(await requirePeer(t, findOracle))) return
  const path = await requirePeer(t, () => findKernel(name))
  if (!path) return
  const theirs = await buildTheirs(path, spec)
  await theirs.remove()
  t.equal(theirs.outcome, 'refused', 'libxenguest refuses it')
  const ours = await buildOurs(readFileSync(path), spec)
  if (ours.outcome === 'built') t.fail('we build it')
  else t.match(ours.error.message, reason)
}

for (const memoryMiB of [128, 1024, 65536]) {
  t.test(`Debian's kernel, ${memoryMiB} MiB`, (t) =>
    expectSame(t, 'debian-amd64', {
      'no ramdisk': { memoryMiB, cmdline: 'root=/dev/xvda1 ro console=hvc0' },
      'a ramdisk of 4095 bytes': { memoryMiB, ramdisks: [ODD_RAMDISK] },
      'frames at an offset': { memoryMiB, ramdisks: [LARGE_RAMDISK], p2m: { offset: 0x123456 } },
      'frames by a table': { memoryMiB, ramdisks: [ODD_RAMDISK], p2m: scrambled(memoryMiB) },
    }),
  )
}

t.test("Debian's kernel, everything else that start_info says", (t) =>
  expectSame(t, 'debian-amd64', {
    'the longest command line': { memoryMiB: 128, cmdline: 'x'.repeat(1023) },
    'event channels, flags and domains': {
      memoryMiB: 128,
      flags: 3,
      storeEvtchn: 0xffffffff,
      consoleEvtchn: 17,
      storeDomid: 5,
      consoleDomid: 6,
    },
    'two modules': { memoryMiB: 128, ramdisks: [LARGE_RAMDISK, ODD_RAMDISK] },
    'features it supports': { memoryMiB: 128, features: 'writable_page_tables|pae_pgdir_above_4gb' },
    'memory in ranges': {
      memoryMiB: 384,
      vmem: [
        [0, 256],
        [1024, 1152],
      ],
      ramdisks: [ODD_RAMDISK],
    },
    'the least memory it can have': { memoryMiB: 77 },
  }),
)

t.test("Debian's kernel with a MiB too little", (t) =>
  expectRefused(t, 'debian-amd64', { memoryMiB: 76 }, /expected .*\b76\.\d+ MiB.*found .*\(76 MiB\)/),
)
t.test("a feature that Debian's kernel does not support", (t) =>
  expectRefused(t, 'debian-amd64', { memoryMiB: 128, features: 'writable_descriptor_tables' }, /does not support/),
)

const OTHERS: Readonly<Partial<Record<KernelName, readonly GuestSpec[]>>> = {
  'debian-cloud-amd64': [{ memoryMiB: 128, ramdisks: [ODD_RAMDISK] }],
  'debian-6.12-cloud-amd64': [{ memoryMiB: 128, p2m: { offset: 0x100000 } }],
  'debian-rt-amd64': [{ memoryMiB: 256, p2m: { offset: 0x200000 } }],
  'grub-x86_64-xen': [{ memoryMiB: 32 }, { memoryMiB: 64, ramdisks: [LARGE_RAMDISK, ODD_RAMDISK], p2m: { offset: 1 } }],
  'grub-i386-xen': [
    { memoryMiB: 32 },
    { memoryMiB: 256, ramdisks: [ODD_RAMDISK], p2m: scrambled(256), cmdline: 'a b' },
    { memoryMiB: 64, p2m: { offset: 0x100000 } },
    { memoryMiB: 8192, p2m: { offset: 0x300000 } },
  ],
  'grub-x86_64-xen-halts': [{ memoryMiB: 64 }],
  'grub-i386-xen-halts': [{ memoryMiB: 64 }],
  'gnumach-amd64': [{ memoryMiB: 64 }, { memoryMiB: 512, ramdisks: [ODD_RAMDISK], p2m: scrambled(512) }],
  'gnumach-i386': [
    { memoryMiB: 64 },
    { memoryMiB: 256, ramdisks: [ODD_RAMDISK], cmdline: 'root=/dev/xvda1' },
    { memoryMiB: 512, p2m: scrambled(512) },
    { memoryMiB: 128, p2m: { offset: 0x100000 } },
  ],
}
for (const [name, specs] of Object.entries(OTHERS) as [KernelName, readonly GuestSpec[]][]) {
  t.test(name, (t) => {
    const title = ({ memoryMiB, ramdisks = [], p2m = 'identity' }: GuestSpec) =>
      `${memoryMiB} MiB, ${ramdisks.length} ramdisks, p2m ${p2m === 'identity' ? p2m : Object.keys(p2m)}`
    return expectSame(t, name, Object.fromEntries(specs.map((spec) => [title(spec), spec])))
  })
}

for (const name of KERNEL_NAMES.filter((n) => n !== 'debian-amd64' && !(n in OTHERS))) {
  t.test(`${name} is no PV kernel, for either`, (t) => expectRefused(t, name, { memoryMiB: 256 }, /./))
}
