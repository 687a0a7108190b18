/**
 * Configurations that no type checker looked at, out of a JSON file or from JavaScript: one line each, never a TypeError.
 *
 * Source: lib/protocol/config.ts and its neighbours.
 * Gotcha: `as never` is what makes them compile.
 */
import { test } from 'tap'
import {
  buildDomain,
  DomainBuilderError,
  type DomainConfig,
  openSnapshot,
  readKernel,
  readVirtual,
  sniffSnapshot,
} from '../../lib/index.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const WRONG = {
  pv: [
    { memory: '64M' },
    { memory: Number.NaN },
    { vcpus: 1.5 },
    { cmdline: 5 },
    { ramdisk: 'initrd.img' },
    { vmemranges: 5 },
    { p2m: 'x' },
    { p2m: { offset: -1 } },
    { sharedInfoMfn: 0.5 },
    { storeEvtchn: -1 },
    { features: 5 },
    { features: 'writable_page_tables|writeable' },
    { type: 'hvm' },
  ],
  linux: [
    { entry: 5 },
    { image: 'x' },
    { loadAddress: -1 },
    { virtualOffset: 5 },
    { reserve: 5 },
    { reserve: [{ start: 5, end: 1 }] },
    { memmap: {} },
    { within: 5 },
    { elfcorehdr: 'x' },
    { subarch: 'x' },
    { ring: 7 },
    { setupData: 5 },
  ],
  pvh: [{ platform: 'x' }, { acpi: 'x' }, { startInfoVersion: 7 }, { loadAddress: 'x' }, { reserve: {} }],
} as const

test('every wrong word is refused by name', async (t) => {
  const kernels = {
    pv: await readKernel(pvKernelFile()),
    linux: await readKernel(linuxKernelFile()),
    pvh: await readKernel(pvhKernelFile()),
  }
  for (const type of ['pv', 'linux', 'pvh'] as const) {
    for (const wrong of WRONG[type]) {
      const config = { type, memory: 64 << 20, ...wrong } as unknown as DomainConfig
      t.throws(() => buildDomain(kernels[type], config), DomainBuilderError, JSON.stringify(wrong))
    }
  }
  for (const none of [undefined, null, 'pv']) {
    t.throws(() => buildDomain(kernels.pv, none as never), { code: 'bad-config' })
  }
  const guest = buildDomain(kernels.pv, { type: 'pv', memory: 16 << 20 })
  for (const length of [-1, Number.NaN, 2 ** 40]) {
    t.throws(() => guest.memory.read(0, length), { code: 'not-mapped' })
    t.throws(() => readVirtual(guest, 0xffffffff80000000n, length), DomainBuilderError)
  }
})

test('a snapshot is opened from a source', async (t) => {
  for (const none of [undefined, null, new Uint8Array(9), {}, 'guest.xl']) {
    await t.rejects(openSnapshot(none as never), { code: 'bad-config', message: /bytesSource/ })
    await t.rejects(sniffSnapshot(none as never), { code: 'bad-config' })
  }
})
