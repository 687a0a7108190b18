/**
 * A kernel of the age of Linux 2.4 by each entry, at 1 MiB and through the hook: it needs memory, screen and timer as
 * the BIOS and setup code of its time leave them.
 */
import t from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { oldKernel } from '../fixtures/old-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, runInQemu, showConsole } from './harness.js'

const taken = { reserve: [{ start: 0x100000, end: 0x101000 }] } as const

for (const entry of [16, 32] as const) {
  for (const where of [{}, taken]) {
    t.test(`${entry}-bit entry, ${where === taken ? 'through the hook' : 'at 1 MiB'}`, async (t) => {
      if ((await requirePeer(t, findQemu)) === undefined) return
      const kernel = await readKernel(oldKernel())
      const domain = buildDomain(kernel, { type: 'linux', memory: 64 * 2 ** 20, entry, ...where })
      const output = await runInQemu(domain)
      t.match(output, /Ok, booting the kernel/)
      t.match(output, /Calibrating delay loop\.\.\. done/)
      showConsole(t, output)
    })
  }
}
