/**
 * Fetches libxenguest of other Xens from Debian's archive into .cache/libxenguest: `npm run libxenguests`.
 *
 * Source: libxenguests.ts, apt.ts.
 * Gotcha: a directory that is there is kept, even if the archive has a newer version. Delete it to fetch it again.
 */
import { execFile } from 'node:child_process'
import { lstat, mkdir, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { readyApt } from './apt.js'
import { FETCHED, fetchedLibxenguest, libxenguestDir, SUITES, type Suite } from './libxenguests.js'

/** Packages of which the headers and start files are needed, and nothing that they depend on. */
const HEADERS = ['libxen-dev', 'libc6-dev', 'linux-libc-dev']

const run = promisify(execFile)
/** dpkg -x, except that a directory in the package leaves a link of that name as it is. */
const UNPACK = 'set -o pipefail; dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"'

/** Makes links to absolute paths relative, so that they stay in this file system. */
async function keepLinksInside(root: string, dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) await keepLinksInside(root, path)
    if (!entry.isSymbolicLink()) continue
    const target = await readlink(path)
    const inside = join(root, target)
    if (!target.startsWith('/') || !(await lstat(inside).catch(() => undefined))) continue
    await rm(path)
    await symlink(relative(dirname(path), inside), path)
  }
}

async function fetchOne(suite: Suite): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'xdb-libxenguest-'))
  const root = `${libxenguestDir(suite)}.${process.pid}`
  try {
    const apt = await readyApt('amd64', suite, join(scratch, suite))
    const library = await apt.dependency('libxen-dev', ['libxenmisc'])
    const packages = await apt.downloadAll(library)
    for (const name of HEADERS) packages.push(await apt.download(name))
    // Older packages have files in /lib, newer ones in /usr/lib.
    for (const dir of ['lib', 'lib64']) {
      await mkdir(join(root, 'usr', dir), { recursive: true })
      await symlink(join('usr', dir), join(root, dir))
    }
    for (const deb of packages) await run('bash', ['-c', UNPACK, deb, root])
    await keepLinksInside(root, root)
    const fetched = { release: library.replace('libxenmisc', ''), version: await apt.version(library) }
    await writeFile(join(root, FETCHED), `${JSON.stringify(fetched)}\n`)
    await rename(root, libxenguestDir(suite))
  } finally {
    for (const dir of [scratch, root]) await rm(dir, { recursive: true, force: true })
  }
}

let failed = false
for (const suite of SUITES) {
  try {
    if (fetchedLibxenguest(suite) === undefined) await fetchOne(suite)
    console.log(`${suite}: libxenguest ${fetchedLibxenguest(suite)?.version}`)
  } catch (error) {
    console.error(`not fetched: ${suite}: ${(error as Error).message.trim()}`)
    failed = true
  }
}
if (failed) process.exitCode = 1
