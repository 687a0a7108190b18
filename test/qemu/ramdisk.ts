/**
 * A ramdisk with busybox, our init, and a payload whose checksum the guest reports.
 *
 * Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst (the "newc" cpio format); Debian's
 * busybox-static.
 * Gotcha: a 32-bit kernel needs a 32-bit busybox, which comes from another architecture's archive.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { patternBytes } from '../../lib/testing/index.js'
import type { Architecture } from '../peer/kernels.js'
import { cacheDir, projectRoot } from '../peer/paths.js'
import type { Found } from '../peer/require-peer.js'

const S_IFDIR = 0o040755
const S_IFREG = 0o100755
const S_IFCHR = 0o020600
/** The device number of /dev/console, without which init would have no output. */
const CONSOLE = { major: 5, minor: 1 }

interface Entry {
  readonly name: string
  readonly mode: number
  readonly data?: Uint8Array
  readonly device?: { readonly major: number; readonly minor: number }
}

/** Returns an archive of the newc format. */
function cpio(entries: readonly Entry[]): Uint8Array {
  const pieces: Uint8Array[] = []
  let length = 0
  const put = (bytes: Uint8Array) => {
    pieces.push(bytes)
    length += bytes.length
    const pad = new Uint8Array((4 - (length % 4)) % 4)
    pieces.push(pad)
    length += pad.length
  }
  ;[...entries, { name: 'TRAILER!!!', mode: 0 }].forEach(({ name, mode, data, device }: Entry, i) => {
    const fields = [
      i + 1,
      mode,
      0,
      0,
      1,
      0,
      data?.length ?? 0,
      0,
      0,
      device?.major ?? 0,
      device?.minor ?? 0,
      name.length + 1,
      0,
    ]
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`
    put(new TextEncoder().encode(header))
    if (data) put(data)
  })
  return Buffer.concat(pieces)
}

const busyboxPath = (arch: Architecture): string => join(cacheDir, 'qemu', `busybox-${arch}`)

/** Returns Debian's busybox for an architecture, through the lists that `npm run kernels` has fetched. */
export async function findBusybox(arch: Architecture): Promise<Found<string>> {
  const path = busyboxPath(arch)
  if (existsSync(path)) return { found: path }
  const config = join(cacheDir, `apt-${arch}`, 'apt.conf')
  if (!existsSync(config)) return { missing: `there are no package lists for ${arch}: npm run kernels` }
  mkdirSync(join(cacheDir, 'qemu'), { recursive: true })
  const dir = mkdtempSync(join(cacheDir, 'qemu', 'fetch-'))
  try {
    execFileSync('apt-get', ['download', '-qq', 'busybox-static'], {
      cwd: dir,
      env: { ...process.env, APT_CONFIG: config },
      stdio: 'ignore',
    })
    const deb = readdirSync(dir).find((file) => file.endsWith('.deb')) ?? ''
    execFileSync('dpkg-deb', ['-x', join(dir, deb), dir])
    renameSync(join(dir, 'bin', 'busybox'), path)
  } catch (error) {
    return { missing: `busybox-static of ${arch} cannot be fetched: ${(error as Error).message}` }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
  return { found: path }
}

const payload = patternBytes(1 << 20, 11)
export const payloadChecksum = createHash('sha256').update(payload).digest('hex')

/** A script next to this file. */
type Init = 'init' | 'init-kallsyms' | 'init-kexec' | 'init-clock' | 'init-stay'

/**
 * Returns the whole ramdisk, uncompressed.
 * @param files further programs and data, by name.
 */
export function ramdisk(
  busybox: string,
  init: Init = 'init',
  files: Readonly<Record<string, Uint8Array>> = {},
): Uint8Array {
  return cpio([
    ...['bin', 'dev', 'proc'].map((name) => ({ name, mode: S_IFDIR })),
    { name: 'dev/console', mode: S_IFCHR, device: CONSOLE },
    { name: 'bin/busybox', mode: S_IFREG, data: readFileSync(busybox) },
    { name: 'bin/sh', mode: S_IFREG, data: readFileSync(busybox) },
    { name: 'init', mode: S_IFREG, data: readFileSync(join(projectRoot, 'test', 'qemu', init)) },
    { name: 'payload', mode: S_IFREG, data: payload },
    ...Object.entries(files).map(([name, data]) => ({ name, mode: S_IFREG, data })),
  ])
}

/** Returns a ramdisk of a few hundred bytes, with that program as its first process. */
export const tinyRamdisk = (init: Uint8Array): Uint8Array => cpio([{ name: 'init', mode: S_IFREG, data: init }])

/** Writes the ramdisk to a file, for QEMU's -initrd. Returns the path. */
export function ramdiskFile(busybox: string, path: string, init: Init = 'init'): string {
  writeFileSync(path, ramdisk(busybox, init))
  return path
}
