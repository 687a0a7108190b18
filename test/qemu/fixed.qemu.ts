/**
 * Real kernels that run only at 0x100000, in several versions of the protocol: memdisk (2.03), iPXE (2.07), memtest86+
 * (2.12). Each is started by every entry it has, at 1 MiB, and through the hook where 1 MiB is reserved. Debian's
 * kernels, changed so that they cannot move, are in boot.qemu.ts.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { registers as R } from '../../lib/asm/assembler.js'
import { SystemAssembler } from '../../lib/asm/system.js'
import { buildDomain, type Domain, type LinuxConfig, PAGE_SIZE, readKernel } from '../../lib/index.js'
import { findKernel, type KernelName } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, runInQemu, runUntil } from './harness.js'

const MiB = 2 ** 20
const taken = { reserve: [{ start: 0x100000, end: 0x101000 }] } as const
const FLOPPY_BYTES = 1440 * 1024
const COM1 = 0x3f8
/** The keyboard controller: its command 0xfe resets the machine. */
const KEYBOARD = 0x64
const RESET = 0xfe

async function build(name: KernelName, config: Partial<LinuxConfig>, t: Test): Promise<Domain | undefined> {
  if ((await requirePeer(t, findQemu)) === undefined) return undefined
  const file = await requirePeer(t, () => findKernel(name))
  if (file === undefined) return undefined
  return buildDomain(await readKernel(readFileSync(file)), { memory: 64 * MiB, ...config, type: 'linux' })
}

const address = (domain: Domain, name: string): number =>
  (domain.regions.find((region) => region.name === name)?.pfn ?? Number.NaN) * PAGE_SIZE

for (const name of ['memtest86+-ia32', 'memtest86+-x64'] as const) {
  for (const entry of [16, 32] as const) {
    for (const where of [{}, taken]) {
      const hooked = where === taken
      t.test(`${name}, ${entry}-bit entry, ${hooked ? 'through the hook' : 'at 1 MiB'}`, async (t) => {
        const domain = await build(name, { entry, cmdline: 'console=ttyS0', ...where }, t)
        if (domain === undefined) return
        t.equal(address(domain, 'kernel'), hooked ? 0x200000 : 0x100000)
        t.equal(
          domain.regions.some((region) => region.name === 'hook'),
          hooked,
        )
        // The title on its screen.
        t.match(await runUntil(domain, /Memtest86\+ v6/), /Memtest86\+ v6/)
      })
    }
  }
}

t.test('iPXE does what its command line says', async (t) => {
  const domain = await build('ipxe', { cmdline: 'echo guest-says hello && sleep 1 && reboot' }, t)
  if (domain === undefined) return
  t.equal(domain.vcpus[0]?.cr0, 0x10n, 'it has no 32-bit entry: its setup code is entered')
  t.match(await runInQemu(domain), /guest-says hello/)
})

t.test('memdisk boots the floppy that is its ramdisk', async (t) => {
  const boot = new SystemAssembler(0, 16)
  for (const char of Buffer.from('floppy-says hello\n')) {
    boot.mov(R.edx, COM1)
    boot.mov(R.al, char)
    boot.outb()
  }
  boot.mov(R.edx, KEYBOARD)
  boot.mov(R.al, RESET)
  boot.outb()
  boot.hlt()
  const floppy = new Uint8Array(FLOPPY_BYTES)
  floppy.set(boot.assemble())
  floppy.set([0x55, 0xaa], 510)
  const domain = await build('memdisk', { ramdisk: floppy, cmdline: 'floppy' }, t)
  if (domain === undefined) return
  const output = await runInQemu(domain)
  t.match(output, /MEMDISK 6/)
  t.match(output, /floppy-says hello/)
})
