/**
 * A running Linux that starts our guest by kexec_load(2), at once or when it crashes.
 *
 * Source: test/qemu/kexec-load.c and init-kexec; Linux Documentation/admin-guide/kdump/kdump.rst.
 * Gotcha: the ramdisk has no libraries, so gcc links the program statically, at each run.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Domain, writeKexec } from '../../lib/index.js'
import { bytesOf } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { findKernel } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, runQemu, withDirectory } from './harness.js'
import { findBusybox, ramdisk } from './ramdisk.js'

/** The files of a first kernel. */
export interface FirstKernel {
  readonly kernel: string
  readonly busybox: string
}

/** Returns the files of a first kernel, or undefined if the test is over. */
export async function findFirstKernel(t: Test): Promise<FirstKernel | undefined> {
  if ((await requirePeer(t, findQemu)) === undefined) return undefined
  if ((await requirePeer(t, () => findCommand('gcc', 'gcc'))) === undefined) return undefined
  const busybox = await requirePeer(t, () => findBusybox('amd64'))
  const kernel = busybox && (await requirePeer(t, () => findKernel('debian-amd64')))
  return kernel ? { kernel, busybox } : undefined
}

/** The RAM of a PC of 1 GiB in QEMU, except the part that its firmware keeps at the top. */
export const FIRST_MEMORY = '1G'
export const FIRST_RAM = [
  { start: 0, end: 0x9f000 },
  { start: 0x100000, end: 0x3f000000 },
] as const

/**
 * Runs a machine that starts as Debian's kernel and continues as the guest. Returns its whole output.
 * @param cmdline for the first kernel; KEXEC=crash makes it crash.
 */
export function runByKexec(first: FirstKernel, domain: Domain, cmdline = ''): Promise<string> {
  return withDirectory((directory) => {
    const program = join(directory, 'kexec-load')
    const source = join(projectRoot, 'test', 'qemu', 'kexec-load.c')
    execFileSync('gcc', ['-static', '-Os', '-Wall', '-Wextra', '-Werror', '-o', program, source])
    const initrd = join(directory, 'ramdisk')
    const files = { 'kexec-load': readFileSync(program), 'guest.kexec': bytesOf(writeKexec(domain)) }
    writeFileSync(initrd, ramdisk(first.busybox, 'init-kexec', files))
    return runQemu([
      ...['-machine', 'pc', '-accel', 'tcg', '-m', FIRST_MEMORY, '-nodefaults', '-no-user-config', '-no-reboot'],
      ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-kernel', first.kernel, '-initrd', initrd],
      ...['-append', `${LINUX_CMDLINE} quiet ${cmdline}`.trim()],
    ])
  })
}
