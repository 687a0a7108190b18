/**
 * One guest of each kind that a map can show, small and made in code.
 *
 * Source: test/fixtures/kernels.ts, lib/testing.
 * Gotcha: names in it are untrusted, and one has markup, so a page that does not escape them fails.
 */
import { buildDomain, type Domain, readKernel } from '../../lib/index.js'
import { buildElf } from '../../lib/testing/index.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20
export const HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)>'

const elf = (cls: 32 | 64, vaddr: number | bigint) =>
  buildElf({ class: cls, entry: 0x1000000, segments: [{ paddr: 0x1000000, vaddr, data: pattern(300000) }] })

const build = async (file: Uint8Array, config: Parameters<typeof buildDomain>[1]): Promise<Domain> =>
  buildDomain(await readKernel(file), config)

export const GUESTS: Readonly<Record<string, () => Promise<Domain>>> = {
  pv64: () =>
    build(pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } }), {
      type: 'pv',
      memory: 32 * MiB,
      ramdisk: pattern(5000),
      p2m: { offset: 0x77 },
    }),
  pv32: () => build(pvKernelFile({ class: 32 }), { type: 'pv', memory: 64 * MiB, ramdisk: pattern(500000) }),
  'linux, paging off': () => build(elf(32, 0x1000000), { type: 'linux', memory: 64 * MiB }),
  'linux, hybrid': () =>
    build(elf(64, 0xffffffff81000000n), { type: 'linux', subarch: 'xen', paging: true, memory: 64 * MiB }),
  pvh: () => build(pvhKernelFile(), { type: 'pvh', memory: 64 * MiB, ramdisk: pattern(5000), cmdline: HOSTILE }),
}

/** The same guest with hostile names for the guest and for a region. */
export const hostile = (domain: Domain): Domain => ({
  ...domain,
  name: HOSTILE,
  regions: domain.regions.map((region, i) => (i === 0 ? { ...region, name: `${HOSTILE}\u0007` } : region)),
})
