/**
 * The symbols that we find in Debian's kernels, in their files and in the memory of the running guests, are those of
 * /proc/kallsyms; gdb shows them in a core, without any other file.
 *
 * Source: /proc/kallsyms of the same kernel under QEMU; gdb(1).
 * Gotcha: with KASLR the addresses of the file differ from those in memory, and with nokaslr they are the same.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findSymbols, moveSymbols, readSymbols, type SymbolTable } from '../../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../../lib/node/index.js'
import { findCommand } from '../peer/command.js'
import { type FurtherName, fetchedKernels, findKernel, type KernelName, kernelPath } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, withDirectory } from './harness.js'
import { findBusybox, ramdiskFile } from './ramdisk.js'
import { type Stopped, stoppedGuest } from './running-guest.js'

const MEMORY_MIB = 256

/** Each with another layout: Linux 5.10 to the newest, 32-bit, real-time, small. */
const KERNELS: readonly KernelName[] = [
  'debian-amd64',
  'debian-cloud-amd64',
  'debian-rt-amd64',
  'debian-6.12-cloud-amd64',
  'debian-686-pae',
]
/** The archive may no longer have these. */
const FURTHER: readonly FurtherName[] = [
  'bullseye-cloud-amd64',
  'bullseye-rt-amd64',
  'bullseye-686-pae',
  'trixie-amd64',
  'sid-amd64',
]

/** Returns the symbols as the lines of /proc/kallsyms: their checksum and their number, as the guest tells them. */
function summary({ symbols }: SymbolTable, is64: boolean): string {
  const hash = createHash('sha256')
  for (const { address, type, name } of symbols) {
    hash.update(`${address.toString(16).padStart(is64 ? 16 : 8, '0')} ${type} ${name}\n`, 'latin1')
  }
  return `${hash.digest('hex')} ${symbols.length}`
}

/** Returns the sorted addresses of all names: an ELF has local symbols first, and knows no types of nm. */
const addresses = ({ symbols }: SymbolTable): string[] =>
  symbols.map(({ address, name }) => `${name} ${address}`).sort()

/** Boots the kernel, and calls `look` with what the guest says of its symbols, while it is stopped. */
async function running(
  t: Test,
  name: KernelName | FurtherName,
  cmdline: string,
  look: (said: string, stopped: Stopped, is64: boolean) => Promise<void>,
): Promise<void> {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const is64 = !name.includes('686')
  const busybox = await requirePeer(t, () => findBusybox(is64 ? 'amd64' : 'i386'))
  if (busybox === undefined) return
  await withDirectory(async (files) => {
    const initrd = ramdiskFile(busybox, join(files, 'initrd'), 'init-kallsyms')
    const args = ['-machine', 'pc', '-m', `${MEMORY_MIB}`, '-kernel', kernelPath(name)]
    const awaited = /GUEST-SYMBOLS ([0-9a-f]+ \d+)\r?\n/
    await stoppedGuest([...args, '-initrd', initrd, '-append', cmdline], awaited, (stopped) =>
      look(awaited.exec(stopped.console)?.[1] ?? '', stopped, is64),
    )
  })
}

async function compare(t: Test, name: KernelName | FurtherName): Promise<void> {
  await running(t, name, LINUX_CMDLINE, async (said, { monitor, directory }, is64) => {
    t.equal(summary(await readSymbols(readFileSync(kernelPath(name))), is64), said, 'the file')
    const core = join(directory, 'core')
    await monitor(`dump-guest-memory ${core}`)
    const { domain, close } = await openSnapshotFile(core)
    const found = await findSymbols(domain)
    close()
    t.equal(found && summary(found, is64), said, 'memory')
  })
}

for (const name of KERNELS) {
  t.test(name, async (t) => {
    if ((await requirePeer(t, () => findKernel(name))) !== undefined) await compare(t, name)
  })
}

const fetched = new Set<string>(fetchedKernels().map(({ name }) => name))
for (const name of FURTHER.filter((name) => fetched.has(name))) {
  t.test(name, (t) => compare(t, name))
}

const KASLR = LINUX_CMDLINE.replace('nokaslr ', '')

for (const name of ['debian-amd64', 'debian-686-pae'] as const) {
  t.test(`${name} with KASLR, and gdb on its core`, async (t) => {
    const gdb = await requirePeer(t, () => findCommand('gdb', 'gdb'))
    if (gdb === undefined || (await requirePeer(t, () => findKernel(name))) === undefined) return
    await running(t, name, KASLR, async (said, { monitor, directory }, is64) => {
      const core = join(directory, 'core')
      await monitor(`dump-guest-memory ${core}`)
      const { domain, close } = await openSnapshotFile(core)
      const symbols = await findSymbols(domain)
      if (symbols === undefined) {
        t.fail('no symbols in memory')
        return
      }
      t.equal(summary(symbols, is64), said, 'memory')
      const ofFile = await readSymbols(readFileSync(kernelPath(name)))
      t.not(summary(ofFile, is64), said, 'the kernel has moved')
      t.equal(summary(await moveSymbols(ofFile, domain), is64), said, 'the file, moved')
      const converted = join(directory, 'converted.core')
      await writeSnapshotFile(domain, converted, { format: 'elf-core', symbols })
      close()
      const ofCore = await readSymbols(readFileSync(converted))
      t.same(addresses(ofCore), addresses(symbols), 'the symbol table of our core')
      const complaints = spawnSync('readelf', ['-SlW', converted], { encoding: 'latin1' }).stderr
      t.equal(complaints, '', 'readelf has no complaint')
      if (!is64) return
      const commands = ['x/s &linux_banner', 'info symbol $pc', 'p/x &__stack_chk_fail']
      const ran = spawnSync(gdb, ['-nx', '-batch', '-c', converted, ...commands.flatMap((one) => ['-ex', one])], {
        encoding: 'latin1',
      })
      t.match(ran.stdout, /"Linux version \d[^"]*Debian/, 'gdb shows linux_banner by its name')
      const near = symbols.near(domain.vcpus[0]?.registers.rip ?? 0n)
      t.match(
        ran.stdout,
        new RegExp(`^${near?.symbol.name}( \\+ ${near?.offset})? in section`, 'm'),
        'the place of vcpu 0',
      )
      t.match(ran.stdout, `= 0x${symbols.named('__stack_chk_fail')[0]?.address.toString(16)}`)
    })
  })
}
