/** Enters our own kernel in every possible state. It reports its boot state, which must be as in boot.rst. */
import t from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { parseReport, type StateKernel, stateCode, stateElf } from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, runInQemu } from './harness.js'
import { checkState, type StateCase } from './state-check.js'

const MiB = 2 ** 20
const ADDRESS = 0x1000000

interface Case extends StateCase {
  readonly name: string
  readonly file?: Uint8Array
}

const kernel = (bits: 32 | 64, ring0 = true): StateKernel => ({ bits, address: ADDRESS, ring0 })
const asImage = (spec: StateKernel): Uint8Array =>
  buildBzImage({ payload: stateCode(spec), payloadOffset: 0, header: { payload_length: 0, init_size: MiB } })

const cases: readonly Case[] = [
  { name: 'bzImage, 32-bit entry', kernel: kernel(32), file: asImage(kernel(32)), config: { entry: 32 } },
  { name: 'bzImage, 64-bit entry', kernel: kernel(64), file: asImage(kernel(64)), config: { entry: 64 } },
  { name: 'vmlinux, 32-bit', kernel: kernel(32), config: {} },
  { name: 'vmlinux, 64-bit', kernel: kernel(64), config: {} },
  { name: 'Xen subarch, 32-bit, paging off', kernel: kernel(32), config: { subarch: 'xen' } },
  { name: 'Xen subarch, 32-bit, paging off, ring 1', kernel: kernel(32, false), config: { subarch: 'xen', ring: 1 } },
  ...(['xen', 'lguest'] as const).flatMap((subarch) =>
    ([0, 1, 3] as const).flatMap((ring): Case[] => [
      {
        name: `${subarch}, 32-bit, paging on, ring ${ring}`,
        kernel: { ...kernel(32, ring === 0), vaddr: 0xc1000000 },

        config: { subarch, ring, paging: true },
      },
      // In long mode, page tables treat ring 1 like ring 0, and registers treat it like ring 3.
      {
        name: `${subarch}, 64-bit, paging on, ring ${ring}`,
        kernel: { ...kernel(64, ring === 0), vaddr: 0xffffffff81000000n },

        config: { subarch, ring, paging: true },
      },
    ]),
  ),
]

for (const one of cases) {
  t.test(one.name, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const file = one.file ?? stateElf(one.kernel)
    const domain = buildDomain(await readKernel(file), {
      memory: 64 * MiB,
      cmdline: 'state',
      ...one.config,
      type: 'linux',
    })
    checkState(t, one, domain, parseReport(await runInQemu(domain), one.kernel.bits))
  })
}
