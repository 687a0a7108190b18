/**
 * Every sequence of build and convert ends in a save file that a restore can start, or in a line with the remedy.
 *
 * Source: xen/include/public/xen.h (the hypercall page, SIF_MOD_START_PFN); libxc clears start_info.flags on restore.
 * Gotcha: Xen fills the hypercall page when it creates a guest, and nothing fills it when a guest is restored.
 */
import { test } from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  hypercallPage,
  openSnapshot,
  type Purpose,
  readKernel,
  writeXl,
} from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { BARE_FORMATS, bytesOf, FORMATS, THROUGH } from '../fixtures/snapshots.js'

const HYPERCALLS = 2
const NOTES = { HYPERCALL_PAGE: 0xffffffff80000000n + BigInt(HYPERCALLS * 4096) }

/** The formats through which a PV guest can go before it becomes a save file. */
const BEFORE = ['none', ...FORMATS.filter((format) => !BARE_FORMATS.includes(format))] as const

async function built(purpose: Purpose, notes: object = NOTES): Promise<Domain> {
  return buildDomain(await readKernel(pvKernelFile({ notes })), {
    type: 'pv',
    memory: 16 * 2 ** 20,
    purpose,
    ramdisk: pattern(9999),
  })
}

test('the hypercall page is filled in every save file, after any sequence of conversions', async (t) => {
  for (const purpose of ['create', 'restore', 'vmm'] as const) {
    for (const format of BEFORE) {
      const guest = await built(purpose)
      const before = guest.memory.read(HYPERCALLS * 4096, 4096)
      const through = format === 'none' ? guest : THROUGH[format](guest)
      const restored = await openSnapshot(bytesSource(bytesOf(writeXl(through))))
      t.same(restored.memory.read(HYPERCALLS * 4096, 4096), hypercallPage('x86_64'), `${purpose}, ${format}`)
      t.same(guest.memory.read(HYPERCALLS * 4096, 4096), before, 'the guest itself is as it was')
    }
  }
})

test('an unmapped ramdisk is refused in words that say what to do, and mapped by a purpose', async (t) => {
  const notes = { ...NOTES, MOD_START_PFN: 1 }
  for (const format of BEFORE.filter((name) => !name.startsWith('xl'))) {
    const through = async (purpose: Purpose) => {
      const guest = await built(purpose, notes)
      return format === 'none' ? guest : THROUGH[format](guest)
    }
    const created = await through('create')
    t.throws(() => writeXl(created), {
      code: 'bad-config',
      message: /the ramdisk is not mapped.*build the guest with purpose restore.*--purpose restore/,
    })
    const restored = await openSnapshot(bytesSource(bytesOf(writeXl(await through('restore')))))
    t.equal(restored.type, 'pv', format)
  }
})
