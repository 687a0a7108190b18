/**
 * Debian's archive: packages are downloaded and unpacked, and nothing is installed.
 *
 * Source: apt-get(8), apt.conf(5), dpkg-deb(1).
 * Gotcha: apt-get would change the machine's own state, so each suite and architecture has separate lists. In shared
 * lists, apt drops a whole suite if one architecture's list is damaged. The machine's own packages are ignored.
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import type { Architecture } from './kernels.js'
import { cacheDir } from './paths.js'

const run = promisify(execFile)

/** A suite of Debian, or the machine's own sources. */
export type Suite = string | undefined

/** Containers of Debian tell apt to parse its lists again in each run. Only the command line overrides that. */
const KEEP_CACHE = ['-o', 'Dir::Cache::pkgcache=pkgcache.bin']

/** apt with separate lists, for one suite and architecture. */
export class Apt {
  /** Where packages are downloaded and unpacked. */
  readonly scratch: string
  readonly #arch: Architecture
  readonly #suite: Suite
  readonly #dir: string
  readonly #config: string

  constructor(arch: Architecture, suite: Suite, scratch: string) {
    this.#arch = arch
    this.#suite = suite
    this.scratch = scratch
    this.#dir = join(cacheDir, suite === undefined ? `apt-${arch}` : `apt-${suite}-${arch}`)
    this.#config = join(this.#dir, 'apt.conf')
  }

  #run(tool: 'apt-get' | 'apt-cache', args: readonly string[], cwd?: string): Promise<{ stdout: string }> {
    return run(tool, [...KEEP_CACHE, ...args], {
      cwd,
      env: { ...process.env, APT_CONFIG: this.#config, LC_ALL: 'C' },
      maxBuffer: 1 << 26,
    })
  }

  async update(): Promise<void> {
    await mkdir(join(this.#dir, 'lists', 'partial'), { recursive: true })
    await mkdir(join(this.#dir, 'cache', 'archives', 'partial'), { recursive: true })
    const config = [
      `Dir::State::Lists "${this.#dir}/lists";`,
      `Dir::Cache "${this.#dir}/cache";`,
      `APT::Architecture "${this.#arch}";`,
      `APT::Architectures { "${this.#arch}"; };`,
      // An installed package would hide another suite's package of the same name.
      'Dir::State::status "/dev/null";',
      'APT::Sandbox::User "root";',
    ]
    if (this.#suite !== undefined) {
      const sources = join(this.#dir, 'sources.list')
      await writeFile(sources, await sourceOf(this.#suite))
      config.push(`Dir::Etc::SourceList "${sources}";`, 'Dir::Etc::SourceParts "-";', 'Acquire::Languages "none";')
    }
    await writeFile(this.#config, `${config.join('\n')}\n`)
    // The other sources work without one that does not answer; a missing package is reported by its name.
    await this.#run('apt-get', ['update', '-qq']).catch((error: Error) =>
      console.error(`apt-get update: ${error.message}`),
    )
  }

  /** Returns the package on which a metapackage depends, through one package for each prefix. */
  async dependency(name: string, prefixes: readonly string[]): Promise<string> {
    const [prefix, ...rest] = prefixes
    if (prefix === undefined) return name
    const { stdout } = await this.#run('apt-cache', ['depends', name])
    const found = [...stdout.matchAll(/^ *Depends: (\S+)$/gm)].map((m) => m[1] ?? '').find((d) => d.startsWith(prefix))
    if (!found) throw new Error(`${name} depends on no ${prefix}*`)
    return this.dependency(found, rest)
  }

  async version(name: string): Promise<string> {
    const { stdout } = await this.#run('apt-cache', ['show', '--no-all-versions', name])
    const found = /^Version: (\S+)$/m.exec(stdout)?.[1]
    if (!found) throw new Error(`the archive has no ${name}`)
    return found
  }

  /** Downloads a package, once. Returns its path. */
  async download(name: string): Promise<string> {
    const downloaded = async () => (await readdir(this.scratch)).find((f) => f.startsWith(`${name}_`))
    if ((await downloaded()) === undefined) await this.#run('apt-get', ['download', '-qq', name], this.scratch)
    const file = await downloaded()
    if (!file) throw new Error(`apt-get downloaded no ${name}`)
    return join(this.scratch, file)
  }

  /** Downloads a package and all that it needs on a machine without packages. Returns their paths. */
  async downloadAll(name: string): Promise<string[]> {
    const archives = ['-o', `Dir::Cache::archives=${this.scratch}`]
    await mkdir(join(this.scratch, 'partial'), { recursive: true })
    const get = ['-qq', '--yes', '--no-install-recommends', '--download-only', 'install', name]
    await this.#run('apt-get', [...archives, '-o', 'Debug::NoLocking=true', ...get])
    return (await readdir(this.scratch)).filter((file) => file.endsWith('.deb')).map((file) => join(this.scratch, file))
  }
}

/** Returns the source of another suite, from the site of the machine's own. Its security updates are left out. */
async function sourceOf(suite: string): Promise<string> {
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)', 'Created-By: Packages'])
  const site = /^(\S+) [a-z]+$/m.exec(stdout)?.[1]
  if (site === undefined) throw new Error('this machine has no sources of a Debian release')
  return `deb ${site} ${suite} main\n`
}

/** Returns apt with the lists of a suite. */
export async function readyApt(arch: Architecture, suite: Suite, scratch: string): Promise<Apt> {
  await mkdir(scratch)
  const apt = new Apt(arch, suite, scratch)
  await apt.update()
  return apt
}

/**
 * Unpacks the only file of a package that matches a pattern. Returns its path. A package with a kernel in /boot has
 * hundreds of MB of modules after it, which are not read.
 */
export async function unpack(deb: string, pattern: string, to: string): Promise<string> {
  const first = pattern.startsWith('./boot/vmlinuz') ? ['--occurrence=1'] : []
  const script = 'dpkg-deb --fsys-tarfile "$0" 2>/dev/null | tar -xv --wildcards "$@"'
  await mkdir(to, { recursive: true })
  const { stdout } = await run('bash', ['-c', script, deb, '-C', to, pattern, ...first])
  const files = stdout.split('\n').filter((line) => line !== '' && !line.endsWith('/'))
  if (files.length !== 1) throw new Error(`${basename(deb)} holds ${files.length} files like ${pattern}`)
  return join(to, files[0] as string)
}
