/**
 * Fetches every kernel of kernels.ts from Debian's archive into .cache/kernels: `npm run kernels`.
 *
 * Source: apt-get(8), dpkg-deb(1), grub-mkimage(1).
 * Gotcha: apt-get would change the machine's own state, so each architecture has separate lists, and nothing is
 * installed. In shared lists, apt drops a whole suite if one architecture's list is damaged.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import {
  type Architecture,
  type FetchedKernel,
  fetchedKernels,
  type GrubKernel,
  KERNEL_NAMES,
  KERNELS,
  type KernelName,
  type KernelSource,
  kernelPath,
  kernelsDir,
  kernelsIndex,
  TOOL_NAMES,
  TOOLS,
  type ToolName,
  toolPath,
  toolsDir,
} from './kernels.js'
import { cacheDir } from './paths.js'

const run = promisify(execFile)

/** The packages that grub-mkimage needs, unpacked and not installed. */
const GRUB_PACKAGES = ['grub-xen-bin', 'grub-common', 'libdevmapper1.02.1']
const GRUB_MODULES =
  'normal echo ls configfile part_msdos part_gpt ext2 xzio gzio memdisk tar help reboot halt test linux search'
/** An image that stays at its prompt. A golden uses this image: another script or module would change the kernel. */
const GRUB_STAYS = { modules: GRUB_MODULES, script: 'echo hello from grub; ls\n' }
/** An image that reports its name and ends. It pauses first: the console's ring ends with the domain. */
const GRUB_HALTS = {
  modules: `${GRUB_MODULES} sleep`,
  script: 'echo GRUB-HELLO $grub_cpu-$grub_platform\nls\necho GRUB-DONE\nsleep 2\nhalt\n',
}

/** apt with separate lists, for one architecture. */
class Apt {
  readonly #arch: Architecture
  readonly #config: string

  constructor(arch: Architecture) {
    this.#arch = arch
    this.#config = join(cacheDir, `apt-${arch}`, 'apt.conf')
  }

  #run(tool: 'apt-get' | 'apt-cache', args: readonly string[], cwd?: string): Promise<{ stdout: string }> {
    return run(tool, args, {
      cwd,
      env: { ...process.env, APT_CONFIG: this.#config, LC_ALL: 'C' },
      maxBuffer: 1 << 26,
    })
  }

  async update(): Promise<void> {
    const dir = join(cacheDir, `apt-${this.#arch}`)
    await mkdir(join(dir, 'lists', 'partial'), { recursive: true })
    await mkdir(join(dir, 'cache', 'archives', 'partial'), { recursive: true })
    const config = [
      `Dir::State::Lists "${dir}/lists";`,
      `Dir::Cache "${dir}/cache";`,
      `APT::Architecture "${this.#arch}";`,
      `APT::Architectures { "${this.#arch}"; };`,
      'APT::Sandbox::User "root";',
    ]
    await writeFile(this.#config, `${config.join('\n')}\n`)
    // The other sources work without one that does not answer; a missing package is reported by its name.
    await this.#run('apt-get', ['update', '-qq']).catch((error: Error) =>
      console.error(`apt-get update: ${error.message}`),
    )
  }

  /** Returns the package on which a metapackage depends. */
  async dependency(name: string, prefix: string): Promise<string> {
    const { stdout } = await this.#run('apt-cache', ['depends', name])
    const found = [...stdout.matchAll(/^ *Depends: (\S+)$/gm)].map((m) => m[1] ?? '').find((d) => d.startsWith(prefix))
    if (!found) throw new Error(`${name} depends on no ${prefix}*`)
    return found
  }

  async version(name: string): Promise<string> {
    const { stdout } = await this.#run('apt-cache', ['show', '--no-all-versions', name])
    const found = /^Version: (\S+)$/m.exec(stdout)?.[1]
    if (!found) throw new Error(`the archive has no ${name}`)
    return found
  }

  /** Downloads a package into a directory. Returns its path. */
  async download(name: string, version: string, dir: string): Promise<string> {
    await this.#run('apt-get', ['download', '-qq', `${name}=${version}`], dir)
    const file = (await readdir(dir)).find((f) => f.startsWith(`${name}_`))
    if (!file) throw new Error(`apt-get downloaded no ${name}`)
    return join(dir, file)
  }
}

/** Unpacks the files of a package that match a pattern: a Linux image has hundreds of MB of unused modules. */
async function unpack(deb: string, pattern: string, to: string): Promise<string[]> {
  const script = 'set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar -xv -C "$2" --wildcards "$3"'
  await mkdir(to, { recursive: true })
  const { stdout } = await run('bash', ['-c', script, 'unpack', deb, to, pattern])
  return stdout.split('\n').filter((line) => line !== '' && !line.endsWith('/'))
}

/** Makes one GRUB image; the first call unpacks the tools. */
async function makeGrub(apt: Apt, { grub: target, halts }: GrubKernel, dir: string): Promise<string> {
  const root = join(dir, 'grub')
  if (!(await readdir(dir)).includes('grub')) {
    await mkdir(root)
    for (const name of GRUB_PACKAGES) {
      await run('dpkg', ['-x', await apt.download(name, await apt.version(name), dir), root])
    }
  }
  const { modules, script } = halts ? GRUB_HALTS : GRUB_STAYS
  await writeFile(join(root, 'early.cfg'), script)
  const libraries = ['usr/lib', 'lib'].map((lib) => join(root, lib, 'x86_64-linux-gnu')).join(':')
  const output = join(dir, `grub-${target}.elf`)
  const folder = join(root, 'usr/lib/grub', target)
  const options = ['-O', target, '-d', folder, '-c', join(root, 'early.cfg'), '-p', '/boot/grub', '-o', output]
  await run(join(root, 'usr/bin/grub-mkimage'), [...options, ...modules.split(' ')], {
    env: { ...process.env, LD_LIBRARY_PATH: libraries },
  })
  return output
}

async function fetchOne(
  apt: Apt,
  name: KernelName,
  dir: string,
  known: readonly FetchedKernel[],
): Promise<FetchedKernel> {
  const source: KernelSource = KERNELS[name]
  const meta = 'current' in source ? source.current : undefined
  const from = meta === undefined ? source.package : await apt.dependency(source.package, meta)
  const version = await apt.version(from)
  const there = known.find((k) => k.name === name && k.package === from && k.version === version)
  if (there) return there
  let made: string
  if ('grub' in source) {
    made = await makeGrub(apt, source, dir)
  } else {
    const unpacked = join(dir, name)
    const files = await unpack(await apt.download(from, version, dir), source.file, unpacked)
    if (files.length !== 1) throw new Error(`${from} holds ${files.length} files like ${source.file}`)
    made = join(unpacked, files[0] as string)
  }
  // Copied, then renamed, so that a test at the same time sees the whole file or none.
  await copyFile(made, `${kernelPath(name)}.new`)
  await rename(`${kernelPath(name)}.new`, kernelPath(name))
  const sha256 = createHash('sha256')
    .update(await readFile(kernelPath(name)))
    .digest('hex')
  return { name, package: from, version, file: basename(made), sha256 }
}

/** Fetches a program, only once, since its output does not depend on its version. */
async function fetchTool(apt: Apt, name: ToolName, dir: string): Promise<void> {
  if (existsSync(toolPath(name))) return
  const { package: from, file } = TOOLS[name]
  const unpacked = join(dir, name)
  const files = await unpack(await apt.download(from, await apt.version(from), dir), file, unpacked)
  if (files.length !== 1) throw new Error(`${from} holds ${files.length} files like ${file}`)
  await mkdir(toolsDir, { recursive: true })
  await copyFile(join(unpacked, files[0] as string), `${toolPath(name)}.new`)
  await rename(`${toolPath(name)}.new`, toolPath(name))
}

/** Fetches all kernels; the result names those that failed, and the others are still fetched. */
async function fetchKernels(): Promise<{ fetched: FetchedKernel[]; failed: string[] }> {
  await mkdir(kernelsDir, { recursive: true })
  const apts = { amd64: new Apt('amd64'), i386: new Apt('i386') }
  for (const apt of Object.values(apts)) await apt.update()
  const dirs = {
    amd64: await mkdtemp(join(tmpdir(), 'xdb-amd64-')),
    i386: await mkdtemp(join(tmpdir(), 'xdb-i386-')),
  }
  const known = fetchedKernels()
  const fetched: FetchedKernel[] = []
  const failed: string[] = []
  try {
    for (const name of KERNEL_NAMES) {
      const { arch } = KERNELS[name]
      try {
        fetched.push(await fetchOne(apts[arch], name, dirs[arch], known))
      } catch (error) {
        failed.push(`${name}: ${(error as Error).message.trim()}`)
      }
    }
    for (const name of TOOL_NAMES) {
      const { arch } = TOOLS[name]
      await fetchTool(apts[arch], name, dirs[arch]).catch((error: Error) =>
        failed.push(`${name}: ${error.message.trim()}`),
      )
    }
  } finally {
    for (const dir of Object.values(dirs)) await rm(dir, { recursive: true, force: true })
  }
  await writeFile(kernelsIndex, `${JSON.stringify(fetched, null, 2)}\n`)
  return { fetched, failed }
}

const { fetched, failed } = await fetchKernels()
for (const k of fetched) console.log(`${k.name}: ${k.file} of ${k.package} ${k.version}`)
for (const reason of failed) console.error(`not fetched: ${reason}`)
if (failed.length > 0) process.exitCode = 1
