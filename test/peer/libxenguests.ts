/**
 * libxenguest of other Xens than the installed one: where each lies, and how a program is compiled and run with it.
 *
 * Source: Debian's suites that have a Xen; gcc(1), ld.so(8). `npm run libxenguests` fetches them.
 * Gotcha: each needs its own C library and loader, since a library needs a C library that is at least as new.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { XenRelease } from '../../lib/index.js'
import { cacheDir } from './paths.js'
import type { Found } from './require-peer.js'

/** Debian's suites whose Xen is a peer, next to the installed one. */
export const SUITES = ['bullseye', 'trixie', 'sid'] as const
export type Suite = (typeof SUITES)[number]

/** One file system with headers and libraries, and what is in it. */
export interface Libxenguest {
  readonly root: string
  /** The release of Xen: its first two numbers. */
  readonly release: XenRelease
}

/** The content of the file that marks a whole one. */
interface Fetched {
  readonly release: XenRelease
  readonly version: string
}

export const libxenguestDir = (suite: Suite): string => join(cacheDir, 'libxenguest', suite)
/** The name of that file. */
export const FETCHED = 'fetched.json'

/** Returns what was fetched of a suite, or undefined. */
export function fetchedLibxenguest(suite: Suite): Fetched | undefined {
  const index = join(libxenguestDir(suite), FETCHED)
  return existsSync(index) ? (JSON.parse(readFileSync(index, 'utf8')) as Fetched) : undefined
}

/** Returns the libxenguest of a suite, or what is missing. */
export function findLibxenguest(suite: Suite): Found<Libxenguest> {
  const fetched = fetchedLibxenguest(suite)
  return fetched === undefined
    ? { missing: `libxenguest of Debian's ${suite} is not here: npm run libxenguests` }
    : { found: { root: libxenguestDir(suite), release: fetched.release } }
}

const librariesOf = ({ root }: Libxenguest): string => join(root, 'usr', 'lib', 'x86_64-linux-gnu')

/** Returns the arguments with which gcc compiles for that file system instead of this machine's. */
export function compilerOptions(peer: Libxenguest): string[] {
  const libraries = librariesOf(peer)
  const release = peer.release.replace(/\.(\d+)$/, (_, minor: string) => minor.padStart(2, '0'))
  return [
    `--sysroot=${peer.root}`,
    `-B${libraries}`,
    `-L${libraries}`,
    `-Wl,-rpath-link,${libraries}`,
    `-DXEN_RELEASE=${release}`,
  ]
}

/** Returns the command that runs a program with those libraries alone. */
export function loaderCommand(peer: Libxenguest, program: string): string[] {
  const libraries = librariesOf(peer)
  return [join(libraries, 'ld-linux-x86-64.so.2'), '--library-path', libraries, program]
}
