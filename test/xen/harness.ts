/**
 * runInXen boots a real Xen with a real dom0 under QEMU's software emulation; one boot runs a list of cases.
 *
 * Source: Xen docs/misc/xen-command-line.pandoc, qemu(1); dom0/init and dom0/lib.sh next to this file run inside.
 * Gotcha: `-cpu max` without -smap faults dom0's first instruction, and without -rdtscp PVH guests loop in Xen's SVM
 * code.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import type { XenRelease } from '../../lib/index.js'
import { cacheDir, projectRoot } from '../peer/paths.js'
import type { Found } from '../peer/require-peer.js'

/**
 * The hypervisor: that of this machine's Debian release, one built from its source with 32-bit PV guests and debugging
 * enabled, or that of a named Debian suite. dom0's tools are always of the same release.
 */
export type Hypervisor = (typeof HYPERVISOR_NAMES)[number]
const HYPERVISOR_NAMES = ['debian', 'pv32-debug', 'debian-4.20'] as const

export interface XenCase {
  /** The name of its domain, log and directory: letters, digits and hyphens. A save file must use it too. */
  readonly name: string
  /** The files in dom0's working directory: bytes, a file's path, or a function that makes bytes before the boot. */
  readonly files?: Readonly<Record<string, Uint8Array | string | (() => Promise<Uint8Array>)>>
  /** The settings of guest.cfg, by the keys of xl.cfg; the name is added. */
  readonly config?: Readonly<Record<string, string | number | readonly string[]>>
  /** Shell commands, with the verbs of dom0/lib.sh; the first that fails ends the case. */
  readonly steps: readonly string[]
  /** Files that the case requests by name; they are made here while it waits, from the files that it gave before. */
  readonly answers?: Readonly<Record<string, (given: (file: string) => Uint8Array) => Uint8Array>>
  /** The limit in dom0's time after which it is stopped; default 120, ten times the duration of most cases. */
  readonly seconds?: number
}

export interface XenResult {
  /** 0 if every step succeeded; undefined if the machine ended before the case did. */
  readonly status: number | undefined
  /** The steps, with dom0's uptime, and their output. */
  readonly log: string
  /** The log of a first try that a signal to xl ended; the case was tried once more then. Else empty. */
  readonly killed: string
  /** Everything the guest wrote to its console. */
  readonly console: string
  /** Xen's own log during the case. */
  readonly xen: string
  readonly release: XenRelease
  /** Returns a file that the case gave back. */
  file(name: string): Uint8Array
}

export interface XenRun {
  readonly results: ReadonlyMap<string, XenResult>
  /** Xen's and dom0's serial console. */
  readonly serial: string
  /** The directory of all files of the run, until it is removed. */
  readonly directory: string
  remove(): void
}

const sources = join(projectRoot, 'test', 'xen')
const xenCache = join(cacheDir, 'xen')
/** The output directory of the build scripts: vmlinux, guest.cpio and the rest. */
export const xenBuild = join(xenCache, 'build')

/** Memory of the emulated machine and of dom0, which saves a guest of 1 GiB to its memory; guests get the rest. */
const MACHINE_MIB = 4096
const DOM0_MIB = 2048
/**
 * The emulated time is counted in instructions, 2 ns each, and the processors take turns in one thread. With a thread
 * for each, QEMU 7.2 loses interrupts while a PVH guest runs, and a busy machine delays them all. README.md next to
 * this file has the details.
 */
const ICOUNT = 'shift=1,sleep=on'
/** The limit until dom0's toolstack is ready: it takes 10 s on an idle machine, minutes on a busy one. */
const BOOT_SECONDS = 240
const CASE_SECONDS = 120

/** The required programs, and their Debian packages. */
const TOOLS: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  gcc: 'gcc',
  strip: 'binutils',
  cpio: 'cpio',
  xz: 'xz-utils',
  dpkg: 'dpkg',
  'apt-get': 'apt',
}
/** The further programs for the build of the hypervisor. */
const TOOLS_PV32: Readonly<Record<string, string>> = { make: 'make', bison: 'bison', flex: 'flex', python3: 'python3' }

/** Whether a Xen can be started here; if not, the result names the first missing program. */
export async function findXen(hypervisor: Hypervisor = 'debian'): Promise<Found<Hypervisor>> {
  const tools = hypervisor === 'pv32-debug' ? { ...TOOLS, ...TOOLS_PV32 } : TOOLS
  for (const [tool, from] of Object.entries(tools)) {
    if (spawnSync(tool, ['--version']).error) return { missing: `${tool} (${from}) is not installed` }
  }
  return { found: hypervisor }
}

/** A build script, with its argument. */
interface Build {
  readonly script: 'build-linux' | 'build-dom0' | 'build-hvm' | 'build-node' | 'build-xen-pv32'
  /** The Debian suite; default the machine's release. */
  readonly suite?: string
}
/** The file in which a script records the sha256 of its sources, and these sources, whose paths start here. */
const RECORDS: Readonly<Record<Build['script'], { readonly key: string; readonly from: readonly string[] }>> = {
  'build-linux': { key: 'linux.key', from: ['packages.sh', 'build-linux.sh', 'guest/init'] },
  'build-dom0': {
    key: 'dom0.key',
    from: ['packages.sh', 'build-linux.sh', 'build-dom0.sh', 'dom0/init', 'dom0/lib.sh', 'src/pvfreeze.c'],
  },
  'build-hvm': { key: 'hvm.key', from: ['packages.sh', 'build-hvm.sh'] },
  'build-node': {
    key: 'node.key',
    from: ['packages.sh', 'build-node.sh', join(projectRoot, 'node_modules/koffi/package.json'), process.execPath],
  },
  'build-xen-pv32': { key: 'xen-pv32.key', from: ['packages.sh', 'build-xen-pv32.sh'] },
}

const buildDirectory = (suite?: string): string => (suite === undefined ? xenBuild : join(xenCache, suite, 'build'))

interface HypervisorFiles {
  readonly release: XenRelease
  readonly elf: string
  /** The suite of it and of dom0; default the machine's release. */
  readonly suite?: string
  /** In their order. */
  readonly builds: readonly Build[]
}

/** Each hypervisor's release and file, and the builds that make it and its dom0. */
const HYPERVISORS: Readonly<Record<Hypervisor, HypervisorFiles>> = {
  debian: { release: '4.17', elf: 'xen.elf', builds: [{ script: 'build-linux' }, { script: 'build-dom0' }] },
  'pv32-debug': {
    release: '4.17',
    elf: 'xen-pv32-debug.elf',
    builds: [{ script: 'build-linux' }, { script: 'build-dom0' }, { script: 'build-xen-pv32' }],
  },
  'debian-4.20': {
    release: '4.20',
    elf: 'xen.elf',
    suite: 'trixie',
    builds: [{ script: 'build-linux' }, { script: 'build-dom0', suite: 'trixie' }],
  },
}

interface Addition {
  /** The verb of dom0/lib.sh that unpacks it; a boot takes it along if a step is that verb. */
  readonly verb: string
  readonly script: Build['script']
  readonly file: string
}
/** The parts of dom0 that only some cases need. */
const ADDITIONS: readonly Addition[] = [
  { verb: 'hvm_ready', script: 'build-hvm', file: 'hvm.cpio' },
  { verb: 'node_ready', script: 'build-node', file: 'node.cpio' },
]

/** Returns the sha256 of files, as the build scripts record it next to their output. */
function keyOf(files: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of files) hash.update(readFileSync(resolve(sources, file)))
  return hash.digest('hex')
}

/** Runs a build script unless its output exists and its sources are unchanged. */
function runBuild({ script, suite }: Build): void {
  const { key, from } = RECORDS[script]
  const keyFile = join(buildDirectory(suite), key)
  if (existsSync(keyFile) && readFileSync(keyFile, 'utf8').trim() === keyOf(from)) return
  execFileSync('bash', [join(sources, `${script}.sh`), ...(suite === undefined ? [] : [suite])], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

/** Builds a hypervisor, and the systems of its dom0 and of the guests, if that is not done. */
export function ensureBuilt(hypervisor: Hypervisor): void {
  for (const build of HYPERVISORS[hypervisor].builds) runBuild(build)
}

/** Builds the hypervisors, and the systems of dom0 and of all guests. */
export function buildAll(): void {
  for (const hypervisor of HYPERVISOR_NAMES) ensureBuilt(hypervisor)
  for (const addition of ADDITIONS) runBuild(addition)
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** Returns guest.cfg as xl reads it. */
function xlConfig(name: string, config: NonNullable<XenCase['config']>): string {
  const value = (v: string | number | readonly string[]): string => {
    if (typeof v === 'number') return String(v)
    return typeof v === 'string' ? `"${v}"` : `[${v.map(value).join(', ')}]`
  }
  return Object.entries({ name, ...config })
    .map(
      ([key, v]) => `${key} = ${value(v)}
`,
    )
    .join('')
}

function placeFile(from: string, to: string): void {
  try {
    linkSync(from, to)
  } catch {
    copyFileSync(from, to) // another file system
  }
}

/** Prepares a case's directory as dom0/init expects it. */
async function prepare(directory: string, xenCase: XenCase): Promise<void> {
  mkdirSync(directory)
  const names = Object.keys(xenCase.files ?? {})
  for (const [name, from] of Object.entries(xenCase.files ?? {})) {
    const to = join(directory, name)
    if (typeof from === 'function') writeFileSync(to, await from())
    else if (typeof from !== 'string') writeFileSync(to, from)
    else placeFile(from, to)
  }
  if (xenCase.config) {
    writeFileSync(join(directory, 'guest.cfg'), xlConfig(xenCase.name, xenCase.config))
    names.push('guest.cfg')
  }
  const lines = [
    '. /lib.sh',
    `step take ${names.map(quote).join(' ')}`,
    ...xenCase.steps.map((s) => `step ${quote(s)}`),
  ]
  writeFileSync(join(directory, 'run.sh'), `${lines.join('\n')}\n`)
  writeFileSync(join(directory, 'seconds'), `${xenCase.seconds ?? CASE_SECONDS}\n`)
}

const readText = (file: string): string => (existsSync(file) ? readFileSync(file, 'latin1') : '')

function resultOf(out: string, name: string, release: XenRelease): XenResult {
  const directory = join(out, name)
  const status = readText(join(directory, 'status')).trim()
  return {
    status: status === '' ? undefined : Number(status),
    log: readText(join(directory, 'log')),
    killed: readText(join(directory, 'log.killed')),
    console: readText(join(out, 'console', `guest-${name}.log`)),
    xen: readText(join(directory, 'xen.log')),
    release,
    file: (file) => readFileSync(join(directory, file)),
  }
}

/** The interval of checks for requests of cases. */
const ANSWER_EVERY_MS = 250

/** Makes the files that cases request: the whole file appears, or a file with the error. */
function answer(cases: readonly XenCase[], share: string): void {
  for (const { name, answers } of cases) {
    for (const [file, make] of Object.entries(answers ?? {})) {
      const to = join(share, 'in', name, file)
      const given = join(share, 'out', name)
      if (!existsSync(join(given, `${file}.asked`)) || existsSync(to) || existsSync(`${to}.refused`)) continue
      try {
        writeFileSync(
          `${to}.part`,
          make((from) => readFileSync(join(given, from))),
        )
        renameSync(`${to}.part`, to)
      } catch (error) {
        writeFileSync(`${to}.refused`, error instanceof Error ? `${error.stack}\n` : String(error))
      }
    }
  }
}

/**
 * Boots Xen and dom0, runs the cases one after another in the order of their names, and powers off.
 * A case that fails, hangs or crashes its guest does not stop the others.
 */
export async function runInXen(cases: readonly XenCase[], hypervisor: Hypervisor = 'debian'): Promise<XenRun> {
  const { release, elf, suite } = HYPERVISORS[hypervisor]
  ensureBuilt(hypervisor)
  const additions = ADDITIONS.filter(({ verb }) => cases.some(({ steps }) => steps.includes(verb)))
  for (const addition of additions) runBuild(addition)
  const directory = mkdtempSync(join(xenCache, 'run-'))
  const share = join(directory, 'share')
  mkdirSync(join(share, 'in'), { recursive: true })
  mkdirSync(join(share, 'out'))
  for (const xenCase of cases) await prepare(join(share, 'in', xenCase.name), xenCase)
  for (const { file } of additions) placeFile(join(xenBuild, file), join(share, file))
  for (const part of ['package.json', 'dist/package']) {
    cpSync(join(projectRoot, part), join(share, 'package', part), { recursive: true })
  }
  const seconds = cases.reduce((sum, c) => sum + (c.seconds ?? CASE_SECONDS), BOOT_SECONDS)
  const serial = join(directory, 'serial.log')
  const answering = setInterval(() => answer(cases, share), ANSWER_EVERY_MS)
  await runQemu(
    [
      ...['-machine', 'q35', '-cpu', 'max,-smap,-rdtscp', '-smp', '2'],
      ...['-accel', 'tcg,thread=single', '-icount', ICOUNT],
      ...['-m', String(MACHINE_MIB), '-nic', 'none', '-no-reboot', '-display', 'none', '-monitor', 'none'],
      ...['-serial', `file:${serial}`],
      ...['-kernel', join(buildDirectory(suite), elf)],
      // Multiboot modules: the kernel with its command line, then the initramfs.
      ...[
        '-initrd',
        `${join(xenBuild, 'vmlinux')} console=hvc0 quiet loglevel=6 mitigations=off,${join(buildDirectory(suite), 'dom0.cpio')}`,
      ],
      '-append',
      `dom0_mem=${DOM0_MIB}M,max:${DOM0_MIB}M console=com1 com1=115200 loglvl=all guest_loglvl=all no-real-mode spec-ctrl=no,eager-fpu`,
      ...['-virtfs', `local,path=${share},mount_tag=share,security_model=none,multidevs=remap`],
    ],
    seconds,
  ).finally(() => clearInterval(answering))
  const results = new Map(cases.map(({ name }) => [name, resultOf(join(share, 'out'), name, release)]))
  return { results, serial: readText(serial), directory, remove: () => rmSync(directory, { recursive: true }) }
}

/** Runs QEMU until the machine powers off; timeout(1) stops it even if this process has ended. */
function runQemu(args: readonly string[], seconds: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const qemu = spawn('timeout', ['--kill-after=5', String(seconds), 'qemu-system-x86_64', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let complaint = ''
    qemu.stderr.on('data', (text: Buffer) => {
      complaint += text.toString()
    })
    qemu.on('error', reject)
    qemu.on('close', (status) => {
      // 124: timeout ended it. The results of the cases up to then can still be read.
      if (status === 0 || status === 124) resolve()
      else reject(new Error(`qemu-system-x86_64 ended with status ${status}: ${complaint.trim()}`))
    })
  })
}
