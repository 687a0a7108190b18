/**
 * libvirt of this machine, for tests: a daemon of a user without rights, whose files are all in a temporary directory.
 *
 * Source: libvirtd(8), virsh(1); https://libvirt.org/drvqemu.html for qemu:///session.
 * Gotcha: for root, libvirt keeps its files in /var and /run. A guest goes on when its daemon ends, so each is
 * destroyed first.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findCommands, findFile } from '../peer/command.js'
import type { Found } from '../peer/require-peer.js'
import { until } from './qmp.js'

const DRIVER = '/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so'
/** The user and group of Debian that own no files. */
const ORDINARY = 65534

export async function findLibvirt(): Promise<Found<true>> {
  const driver = await findFile(DRIVER, 'libvirt-daemon-driver-qemu')
  if ('missing' in driver) return driver
  return findCommands(
    ['libvirtd', 'libvirt-daemon'],
    ['virsh', 'libvirt-clients'],
    ['setpriv', 'util-linux'],
    ['qemu-system-x86_64', 'qemu-system-x86'],
  )
}

export interface Libvirt {
  /** A directory that libvirt may write to. */
  readonly directory: string
  /** Runs virsh with these arguments, and returns what it says. */
  virsh(...args: readonly string[]): Promise<string>
}

/** Returns a new directory that libvirt may write to. */
export function libvirtDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'xdb-libvirt-'))
  give(directory)
  return directory
}

function give(path: string): void {
  chmodSync(path, 0o755)
  if (process.getuid?.() === 0) chownSync(path, ORDINARY, ORDINARY)
}

/** Starts the daemon, calls `act`, and ends all guests and the daemon. @param format of `virsh save`. */
export async function withLibvirt<T>(
  directory: string,
  format: string,
  act: (libvirt: Libvirt) => Promise<T>,
): Promise<T> {
  const home = join(directory, `home-${format}`)
  const folders = ['', 'run', 'config', 'config/libvirt', 'cache', 'data'].map((name) => join(home, name))
  for (const folder of folders) {
    mkdirSync(folder)
    give(folder)
  }
  writeFileSync(
    join(home, 'config', 'libvirt', 'qemu.conf'),
    `stdio_handler = "file"\nsave_image_format = "${format}"\n`,
  )
  const env = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: home,
    XDG_RUNTIME_DIR: join(home, 'run'),
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_CACHE_HOME: join(home, 'cache'),
    XDG_DATA_HOME: join(home, 'data'),
  }
  const asOrdinary = ['setpriv', `--reuid=${ORDINARY}`, `--regid=${ORDINARY}`, '--clear-groups']
  const [command = '', ...before] = process.getuid?.() === 0 ? asOrdinary : ['env']
  const daemon = spawn(command, [...before, 'libvirtd'], { env, stdio: 'ignore' })
  const ended = once(daemon, 'close')
  const virsh = async (...args: readonly string[]): Promise<string> => {
    const words = [...before, 'virsh', '-q', '-c', 'qemu:///session', ...args]
    return (await promisify(execFile)(command, words, { env, encoding: 'utf8', maxBuffer: 2 ** 26 })).stdout
  }
  try {
    await until('libvirtd', () => existsSync(join(home, 'run', 'libvirt', 'libvirt-sock')) || undefined)
    return await act({ directory, virsh })
  } finally {
    for (const name of (await virsh('list', '--name').catch(() => '')).split('\n').filter(Boolean)) {
      await virsh('destroy', name).catch(() => undefined)
    }
    daemon.kill()
    await ended
    rmSync(home, { recursive: true, force: true })
  }
}
