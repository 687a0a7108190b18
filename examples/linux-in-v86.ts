/**
 * Runs a real 32-bit kernel in this process: a distribution's Linux with PAE, until it has reported what it found.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol"; Debian's linux-image-686-pae is such a kernel.
 * Gotcha: the machine has no BIOS and no disk. The boot ROM of the qemu format enters the kernel as boot.rst says.
 *
 *     node dist/examples/linux-in-v86.js vmlinuz-6.1.0-686-pae
 */
import { readFileSync } from 'node:fs'
import { buildDomain, readKernel, writeSnapshot } from 'xen-domain-builder'
import { runInV86 } from './v86-machine.js'

/** Returns the kernel's output on its serial port, up to its own copy of the command line. */
export async function bootLinux(image: Uint8Array, cmdline: string): Promise<string> {
  const bytes = 128 * 2 ** 20
  const guest = buildDomain(await readKernel(image), {
    type: 'linux',
    memory: bytes,
    cmdline: `earlyprintk=serial,ttyS0,115200 ${cmdline}`,
  })
  const rom = Buffer.concat([...(writeSnapshot(guest, 'qemu').find(({ suffix }) => suffix === '.rom') ?? [])])
  const { console } = await runInV86({ bytes, rom, content: guest.memory.chunks() }, /command line: [^\n]*\n/)
  return console
}

if (process.argv[1] === import.meta.filename) {
  const [, , file] = process.argv
  if (file === undefined) {
    console.error('usage: linux-in-v86 VMLINUZ')
    process.exitCode = 2
  } else {
    console.log(await bootLinux(readFileSync(file), 'panic=1'))
  }
}
