/** Enters our own kernel in every possible state. It reports its boot state, which must be as in boot.rst. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { qemuArguments } from '../../lib/snapshot/qemu.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { oldKernel } from '../fixtures/old-kernel.js'
import { parseReport, type StateKernel, stateCode, stateElf } from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { stoppedAt } from './gdb.js'
import { findQemu, runInQemu, withDirectory, writeQemuFiles } from './harness.js'
import { checkState, type StateCase } from './state-check.js'

const MiB = 2 ** 20
const ADDRESS = 0x1000000
const OLD_KERNEL_ADDRESS = 0x100000
/** 8254: the read-back command for the status of counter 0, and the status's bits of access and mode. */
const PIT_STATUS_OF_COUNTER_0 = 0xe2
const PIT_MODE = 0x3f

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

/** Returns how interrupts and the timer are set up, as QEMU's monitor shows it. */
async function devices(args: readonly string[]): Promise<Record<string, string>> {
  return stoppedAt(args, OLD_KERNEL_ADDRESS, async ({ monitor }) => {
    const [pic, lapic] = [await monitor('info pic'), await monitor('info lapic')]
    const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map((match) => match[1]).join(' ')
    await monitor(`o /b 0x43 ${PIT_STATUS_OF_COUNTER_0}`)
    const status = /= (0x[0-9a-f]+)/.exec(await monitor('i /b 0x40'))?.[1]
    return {
      'vectors of the 8259A pair': all(pic, /pic\d: .* irq_base=(\w+)/g),
      'LINT0 and LINT1': all(lapic, /^LVT[01].*\b(ExtINT|NMI)\b/gm),
      'local APIC': all(lapic, /^SPIV\s+(0x\w+ APIC \w+)/gm),
      'mode of the timer': `${Number(status) & PIT_MODE}`,
    }
  })
}

t.test('the devices are as a BIOS leaves them', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const file = oldKernel()
  const domain = buildDomain(await readKernel(file), { type: 'linux', memory: 64 * MiB, entry: 32 })
  await withDirectory(async (directory) => {
    const [guest, image] = [join(directory, 'guest'), join(directory, 'bzImage')]
    await writeQemuFiles(domain, guest)
    writeFileSync(image, file)
    // QEMU's own loader runs SeaBIOS, and then the kernel's setup code.
    const ours = await devices(qemuArguments(domain, guest))
    t.same(ours, await devices(['-machine', 'pc', '-nodefaults', '-display', 'none', '-m', '64', '-kernel', image]))
    t.same(ours, {
      'vectors of the 8259A pair': '70 08',
      'LINT0 and LINT1': 'ExtINT NMI',
      'local APIC': '0x000001ff APIC enabled',
      'mode of the timer': '52',
    })
  })
})
