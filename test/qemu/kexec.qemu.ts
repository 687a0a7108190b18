/** Debian's kernel runs, loads what we built by kexec_load(2), and becomes it: at once, or when it crashes. */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { buildDomain, type Domain, type Kernel, type LinuxConfig, readKernel } from '../../lib/index.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { parseReport, stateCode, stateElf } from '../fixtures/state-kernel.js'
import { FIRST_RAM, type FirstKernel, findFirstKernel, runByKexec } from './kexec.js'
import { asDyn, e820Lines, guestSaid } from './linux-guest.js'
import { payloadChecksum, ramdisk } from './ramdisk.js'
import { checkState, type StateCase } from './state-check.js'

const MiB = 2 ** 20
const MEMORY = 1024 * MiB
const CMDLINE = 'console=ttyS0 quiet nokaslr reboot=t panic=-1'
const LINKED_AT = 0x1000000

/** Runs it; the second kernel reports what it has, and the first one only that it was there. */
async function become(t: Test, first: FirstKernel, domain: Domain, cmdline = '', firstCmdline = ''): Promise<string> {
  const start = performance.now()
  const output = await runByKexec(first, domain, firstCmdline)
  t.comment(`${((performance.now() - start) / 1000).toFixed(1)} s`)
  t.match(output, /FIRST-CMDLINE console=ttyS0 quiet nokaslr panic=-1/, 'another kernel ran before')
  t.match(output, /FIRST-LOADED \d+ segments/, 'kexec_load took the segments')
  t.same(guestSaid(output, 'CMDLINE'), [cmdline], 'the command line is its own')
  t.same(guestSaid(output, 'PAYLOAD'), [payloadChecksum], 'the ramdisk arrived whole')
  t.same(guestSaid(output, 'E820'), e820Lines(domain), 'the memory map it was given')
  t.same(guestSaid(output, 'READY'), ['x86_64'])
  return output
}

const codeAt = (output: string): number => Number.parseInt((guestSaid(output, 'CODE')[0] ?? '').trim(), 16)

interface Boot {
  readonly name: string
  readonly config: Partial<LinuxConfig>
  readonly runsAt?: number
  readonly prepare?: (kernel: Kernel) => Uint8Array
}

const boots: readonly Boot[] = [
  { name: 'bzImage, 64-bit entry', config: { entry: 64 } },
  { name: 'bzImage, 32-bit entry', config: { entry: 32 } },
  { name: 'vmlinux, ET_EXEC', config: { image: 'vmlinux' } },
  {
    name: 'vmlinux, ET_DYN, elsewhere',
    config: { loadAddress: LINKED_AT + 0x4000000 },
    runsAt: LINKED_AT + 0x4000000,
    prepare: asDyn,
  },
]

for (const { name, config, runsAt = LINKED_AT, prepare } of boots) {
  t.test(name, async (t) => {
    const first = await findFirstKernel(t)
    if (first === undefined) return
    const kernel = await readKernel(readFileSync(first.kernel))
    const domain = buildDomain(prepare ? await readKernel(prepare(kernel)) : kernel, {
      memory: MEMORY,
      memmap: FIRST_RAM,
      cmdline: CMDLINE,
      ramdisk: ramdisk(first.busybox),
      ...config,
      type: 'linux',
    })
    const output = await become(t, first, domain, CMDLINE)
    t.equal(codeAt(output), runsAt, 'it runs where it was put')
  })
}

const states: readonly (StateCase & { readonly name: string; readonly file: Uint8Array })[] = ([32, 64] as const).map(
  (bits) => {
    const kernel = { bits, address: LINKED_AT, ring0: true } as const
    const image = { payload: stateCode(kernel), payloadOffset: 0, header: { payload_length: 0, init_size: MiB } }
    return bits === 32
      ? { name: 'the state of a 32-bit entry', kernel, config: { entry: 32 }, file: buildBzImage(image) }
      : { name: 'the state of a 64-bit vmlinux', kernel, config: {}, file: stateElf(kernel) }
  },
)

for (const one of states) {
  t.test(`${one.name}, out of kexec's`, async (t) => {
    const first = await findFirstKernel(t)
    if (first === undefined) return
    const domain = buildDomain(await readKernel(one.file), {
      memory: MEMORY,
      memmap: FIRST_RAM,
      cmdline: 'state',
      ...one.config,
      type: 'linux',
    })
    checkState(t, one, domain, parseReport(await runByKexec(first, domain), one.kernel.bits))
  })
}
