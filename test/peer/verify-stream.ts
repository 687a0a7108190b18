/**
 * Xen's own checker of save files, verify-stream-v2, from Debian's xen-utils package, unpacked and not installed.
 *
 * Source: apt-get(8), dpkg-deb(1); the package has the archive's version.
 * Gotcha: it finds its modules only through PYTHONPATH; for a valid file, it prints nothing.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { findCommand } from './command.js'
import { cacheDir } from './paths.js'
import type { Found } from './require-peer.js'

const PACKAGE = 'xen-utils-4.17'
const home = join(cacheDir, 'xen-utils')
const root = join(home, 'usr', 'lib', 'xen-4.17')

/** Runs the checker on a file, of xl unless it is said to be a stream alone. Returns its message, or undefined. */
export type VerifyStream = (file: string, format?: 'xl' | 'libxl' | 'libxc') => string | undefined

/** Returns the checker, fetched if needed. */
export async function findVerifyStream(): Promise<Found<VerifyStream>> {
  const python = await findCommand('python3', 'python3')
  if ('missing' in python) return python
  const utils = await findXenUtils()
  return 'missing' in utils ? utils : { found: verify }
}

/** Returns the folder of Xen's own programs (bin) and Python modules (lib/python), fetched if needed. */
export async function findXenUtils(): Promise<Found<string>> {
  if (!existsSync(root)) {
    try {
      fetchPackage()
    } catch (error) {
      return { missing: `${PACKAGE} cannot be fetched: ${(error as Error).message.split('\n')[0]}` }
    }
  }
  return { found: root }
}

function fetchPackage(): void {
  mkdirSync(cacheDir, { recursive: true })
  const folder = mkdtempSync(join(cacheDir, 'fetching-'))
  try {
    execFileSync('apt-get', ['download', '-qq', PACKAGE], { cwd: folder, stdio: 'pipe' })
    const [deb = ''] = readdirSync(folder)
    execFileSync('dpkg-deb', ['-x', deb, 'unpacked'], { cwd: folder, stdio: 'pipe' })
    // Another test may have renamed it first.
    if (!existsSync(home)) renameSync(join(folder, 'unpacked'), home)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function verify(file: string, format = 'xl'): string | undefined {
  const ran = spawnSync('python3', [join(root, 'bin', 'verify-stream-v2'), '-f', format, '-i', file], {
    encoding: 'utf8',
    env: { ...process.env, PYTHONPATH: join(root, 'lib', 'python') },
  })
  return ran.status === 0 ? undefined : ran.stderr || ran.stdout || String(ran.error)
}
