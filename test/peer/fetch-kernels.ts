/**
 * Fetches every kernel of kernels.ts from Debian's archive into .cache/kernels: `npm run kernels`. A kernel whose version
 * the archive still has is not fetched again.
 *
 * Source: grub-mkimage(1); apt.ts.
 * Gotcha: nothing is installed. An image of GRUB is made with tools that are only unpacked.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { type Apt, readyApt, type Suite, unpack } from './apt.js'
import {
  type Architecture,
  type FetchedKernel,
  FURTHER,
  FURTHER_NAMES,
  type FurtherName,
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

/** Makes one GRUB image; the first call unpacks the tools. */
async function makeGrub(apt: Apt, { grub: target, halts }: GrubKernel): Promise<string> {
  const root = join(apt.scratch, 'grub')
  if (!existsSync(root)) {
    await mkdir(root)
    for (const name of GRUB_PACKAGES) await run('dpkg', ['-x', await apt.download(name), root])
  }
  const { modules, script } = halts ? GRUB_HALTS : GRUB_STAYS
  await writeFile(join(root, 'early.cfg'), script)
  const libraries = ['usr/lib', 'lib'].map((lib) => join(root, lib, 'x86_64-linux-gnu')).join(':')
  const output = join(apt.scratch, `grub-${target}.elf`)
  const folder = join(root, 'usr/lib/grub', target)
  const options = ['-O', target, '-d', folder, '-c', join(root, 'early.cfg'), '-p', '/boot/grub', '-o', output]
  await run(join(root, 'usr/bin/grub-mkimage'), [...options, ...modules.split(' ')], {
    env: { ...process.env, LD_LIBRARY_PATH: libraries },
  })
  return output
}

/** Copies, then renames, so that a test at the same time sees the whole file or nothing. */
async function keep(made: string, path: string): Promise<void> {
  await copyFile(made, `${path}.new`)
  await rename(`${path}.new`, path)
}

type Name = KernelName | FurtherName

async function fetchOne(apt: Apt, name: Name, known: FetchedKernel | undefined): Promise<FetchedKernel> {
  const source: KernelSource = SOURCES[name]
  const from = await apt.dependency(source.package, 'grub' in source ? [] : (source.current ?? []))
  const version = await apt.version(from)
  if (known?.package === from && known.version === version) return known
  const made =
    'grub' in source
      ? await makeGrub(apt, source)
      : await unpack(await apt.download(from), source.file, join(apt.scratch, name))
  await keep(made, kernelPath(name))
  const sha256 = createHash('sha256')
    .update(await readFile(kernelPath(name)))
    .digest('hex')
  return { name, package: from, version, file: basename(made), sha256 }
}

/** Fetches a program, only once, since its output does not depend on its version. */
async function fetchTool(apt: Apt, name: ToolName): Promise<void> {
  if (existsSync(toolPath(name))) return
  const { package: from, file } = TOOLS[name]
  await mkdir(toolsDir, { recursive: true })
  await keep(await unpack(await apt.download(from), file, join(apt.scratch, name)), toolPath(name))
}

const SOURCES: Readonly<Record<Name, KernelSource>> = { ...KERNELS, ...FURTHER }
const suiteOf = (source: KernelSource): Suite => ('grub' in source ? undefined : source.suite)

/** The outcome: reasons for the kernels that could not be fetched; the others are fetched. */
interface Outcome {
  readonly fetched: FetchedKernel[]
  /** Of those that every machine must have. */
  readonly failed: string[]
  /** Of the further ones. */
  readonly absent: string[]
}

async function fetchKernels(): Promise<Outcome> {
  await mkdir(kernelsDir, { recursive: true })
  const scratch = await mkdtemp(join(tmpdir(), 'xdb-kernels-'))
  const apts = new Map<string, Promise<Apt>>()
  const aptFor = (arch: Architecture, suite: Suite): Promise<Apt> => {
    const key = `${suite ?? 'own'}-${arch}`
    const apt = apts.get(key) ?? readyApt(arch, suite, join(scratch, key))
    apts.set(key, apt)
    return apt
  }
  const known = fetchedKernels()
  const outcome: Outcome = { fetched: [], failed: [], absent: [] }
  try {
    // All lists at the same time; then one package after another.
    await Promise.all(Object.values(SOURCES).map((source) => aptFor(source.arch, suiteOf(source))))
    for (const name of [...KERNEL_NAMES, ...FURTHER_NAMES]) {
      const source = SOURCES[name]
      const before = known.find((k) => k.name === name)
      try {
        outcome.fetched.push(await fetchOne(await aptFor(source.arch, suiteOf(source)), name, before))
      } catch (error) {
        const reason = `${name}: ${(error as Error).message.trim()}`
        if (!(name in FURTHER)) outcome.failed.push(reason)
        else if (before === undefined) outcome.absent.push(reason)
        else outcome.fetched.push(before)
      }
    }
    for (const name of TOOL_NAMES) {
      await fetchTool(await aptFor(TOOLS[name].arch, undefined), name).catch((error: Error) =>
        outcome.failed.push(`${name}: ${error.message.trim()}`),
      )
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  await writeFile(kernelsIndex, `${JSON.stringify(outcome.fetched, null, 2)}\n`)
  return outcome
}

const { fetched, failed, absent } = await fetchKernels()
for (const k of fetched) console.log(`${k.name}: ${k.file} of ${k.package} ${k.version}`)
for (const reason of absent) console.log(`not in the archive: ${reason}`)
for (const reason of failed) console.error(`not fetched: ${reason}`)
if (failed.length > 0) process.exitCode = 1
