/**
 * The peer: libxenguest itself, run offline on a kernel file; it dumps its guest for comparison.
 *
 * Source: oracle/oracle.c, compiled on first use against Debian's libxen-dev; see its README.
 * Gotcha: the library has bugs too: it may crash on a hostile kernel, which is a third outcome.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { XenRelease } from '../../lib/index.js'
import { compilerOptions, findLibxenguest, type Libxenguest, loaderCommand, type Suite } from './libxenguests.js'
import type { OracleLayout, OracleRefusalLayout } from './oracle-layout.js'
import { cacheDir, peerSources } from './paths.js'
import type { Found } from './require-peer.js'

const run = promisify(execFile)

/** Options of the oracle's guest; each name is an option of its command line. */
export interface OracleOptions {
  readonly memoryMiB: number
  /** Paths of files, two at most. */
  readonly ramdisks?: readonly string[]
  readonly cmdline?: string
  readonly features?: string
  /** identity, offset:N, reverse[:BASE], shuffle:SEED, or a file with one u64 a page. */
  readonly p2m?: string
  /** Ranges [start, end) in MiB that exist; memoryMiB is then their sum. */
  readonly vmem?: readonly (readonly [number, number])[]
  readonly flags?: number
  readonly storeEvtchn?: number
  readonly consoleEvtchn?: number
  readonly storeDomid?: number
  readonly consoleDomid?: number
  readonly sharedInfoMfn?: number
  readonly fillHypercallPage?: boolean
}

export interface OracleGuest {
  readonly outcome: 'built'
  readonly layout: OracleLayout
  readonly memory: string
  readonly startInfo: string
  readonly sharedInfo: string
  readonly vcpu: string
  /** Deletes the files. */
  readonly remove: () => Promise<void>
}

export interface OracleRefusal {
  readonly outcome: 'refused'
  /** The step that failed, and the library's message. */
  readonly reason: string
  readonly layout: OracleRefusalLayout
  readonly remove: () => Promise<void>
}

export interface OracleCrash {
  readonly outcome: 'crashed'
  readonly reason: string
  readonly remove: () => Promise<void>
}

export type OracleResult = OracleGuest | OracleRefusal | OracleCrash

/** The output of --bench, in milliseconds; each step has its name with `_ms`. */
export interface OracleTimings {
  readonly rc: number
  readonly total_ms: number
  readonly unzip_ms: number
  readonly maxrss_kib: number
  readonly utime_ms: number
  readonly stime_ms: number
  readonly kernel_file_ms: number
  readonly unzip_with: string
}

interface ChildFailure {
  readonly code?: number | string | null
  readonly signal?: string | null
  readonly stderr?: string
}

const compiled = new Map<string, Promise<Found<string>>>()

/** Returns the executable of a C file in oracle/, compiling it if this source has none yet. */
export function findPeer(name: 'oracle' | 'acceptance', other?: Libxenguest): Promise<Found<string>> {
  const key = `${name} ${other?.root}`
  const found = compiled.get(key) ?? compile(name, other)
  compiled.set(key, found)
  return found
}

/** The oracle of one libxenguest. */
export interface Oracle {
  /** A program and its first arguments. */
  readonly command: readonly string[]
  /** The release of Xen that the library is of. */
  readonly release: XenRelease
  /** Builds in a process that stays. @throws Error with the exit status as `code`, or the signal. */
  readonly run?: (args: readonly string[]) => Promise<void>
}

/** The release that oracle.c is compiled for without a suite: that of the installed library. */
export const INSTALLED_RELEASE: XenRelease = '4.17'

/** Returns the oracle of the installed libxenguest, or of a suite's. */
export async function findOracle(suite?: Suite): Promise<Found<Oracle>> {
  const other = suite === undefined ? undefined : findLibxenguest(suite)
  if (other !== undefined && 'missing' in other) return other
  const program = await findPeer('oracle', other?.found)
  if ('missing' in program) return program
  return other === undefined
    ? { found: { command: [program.found], release: INSTALLED_RELEASE } }
    : { found: { command: loaderCommand(other.found, program.found), release: other.found.release } }
}

async function compile(name: string, other: Libxenguest | undefined): Promise<Found<string>> {
  const folder = join(peerSources, 'oracle')
  const source = join(folder, `${name}.c`)
  const options = other === undefined ? [] : compilerOptions(other)
  const hash = createHash('sha256').update(options.join(' '))
  const code = (await readdir(folder)).filter((file) => /\.[ch]$/.test(file)).sort()
  for (const file of code) hash.update(await readFile(join(folder, file)))
  const program = join(cacheDir, 'oracle', `${name}-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(program)) return { found: program }
  await mkdir(join(cacheDir, 'oracle'), { recursive: true })
  // Test files run in parallel: each compiles separately, and the last rename wins.
  const fresh = `${program}.${process.pid}`
  const libraries = ['-lxenguest', '-lxenctrl', '-lxentoollog', '-ldl']
  try {
    await run('gcc', [...options, '-O2', '-Wall', '-Wextra', '-Werror', '-o', fresh, source, ...libraries])
  } catch (error) {
    const { code, stderr = '' } = error as ChildFailure
    const cause = code === 'ENOENT' ? 'gcc is not installed' : (/error: .*/.exec(stderr)?.[0] ?? stderr.slice(0, 200))
    return { missing: `libxenguest cannot be run (${cause.trim()}): install gcc and libxen-dev 4.17` }
  }
  await rename(fresh, program)
  return { found: program }
}

/** An oracle that stays: one process that forks for each build. */
export interface OracleServer extends Oracle {
  readonly stop: () => void
}

/** Starts an oracle that stays. Its builds follow each other. */
export function serveOracle({ command, release }: Oracle): OracleServer {
  const [program = '', ...first] = command
  const child = spawn(program, [...first, '--serve'], { stdio: ['pipe', 'pipe', 'ignore'] })
  const waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = []
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line))
  child.on('exit', (code, signal) => {
    for (const { reject } of waiting) reject(new Error(`the oracle ended: ${signal ?? code}`))
  })
  const run = async (args: readonly string[]): Promise<void> => {
    const line = await new Promise<string>((resolve, reject) => {
      waiting.push({ resolve, reject })
      child.stdin.write(`${args.length}\n${args.map((arg) => `${arg}\0`).join('')}`)
    })
    const [how, number] = line.split(' ')
    if (how === 'exit' && number === '0') return
    const signal = Object.entries(constants.signals).find(([, value]) => value === Number(number))?.[0]
    throw Object.assign(new Error(line), how === 'exit' ? { code: Number(number) } : { signal })
  }
  return { command, release, run, stop: () => child.stdin.end() }
}

/** Runs an oracle, by default that of the installed library. */
async function runCommand(oracle: Oracle | undefined, args: readonly string[]): Promise<{ stdout: string }> {
  const found = oracle === undefined ? await findOracle() : { found: oracle }
  if ('missing' in found) throw new Error(found.missing)
  const [program = '', ...first] = found.found.command
  return run(program, [...first, ...args])
}

function commandLine(kernel: string, options: OracleOptions): string[] {
  const args = [kernel, '--memory', String(options.memoryMiB)]
  const put = (name: string, value: string | number | undefined) => {
    if (value !== undefined) args.push(`--${name}`, String(value))
  }
  for (const file of options.ramdisks ?? []) put('ramdisk', file)
  put('cmdline', options.cmdline)
  put('features', options.features)
  put('p2m', options.p2m)
  put('vmem', options.vmem?.map(([start, end]) => `${start}-${end}`).join(','))
  put('flags', options.flags)
  put('store-evtchn', options.storeEvtchn)
  put('console-evtchn', options.consoleEvtchn)
  put('store-domid', options.storeDomid)
  put('console-domid', options.consoleDomid)
  put('shared-info-mfn', options.sharedInfoMfn)
  if (options.fillHypercallPage) args.push('--fill-hypercall-page')
  return args
}

/** Returns the library's logged errors, on one line. */
function reasonOf(layout: OracleRefusalLayout): string {
  const said = layout.log
    .filter((line) => /^(panic|critical|error|warning)/i.test(line))
    .map((line) => line.replace(/^\w+: \w+: /, ''))
  return [layout.failed_stage, ...said].join(': ')
}

/**
 * Builds a guest with libxenguest. The caller must remove the files that it leaves.
 * @throws Error if the oracle itself fails, but not if its builder refuses.
 */
export async function runOracle(kernel: string, options: OracleOptions, oracle?: Oracle): Promise<OracleResult> {
  const dir = await mkdtemp(join(tmpdir(), 'xdb-oracle-'))
  const remove = () => rm(dir, { recursive: true, force: true })
  const args = [...commandLine(kernel, options), '--quiet', '-o', dir]
  try {
    await (oracle?.run?.(args) ?? runCommand(oracle, args))
  } catch (error) {
    const { code, signal, stderr } = error as ChildFailure
    if (signal) return { outcome: 'crashed', reason: signal, remove }
    if (code !== 1) {
      await remove()
      throw new Error(`oracle ${args.join(' ')}: ${stderr || String(error)}`)
    }
  }
  const layout = JSON.parse(await readFile(join(dir, 'layout.json'), 'utf8')) as OracleLayout | OracleRefusalLayout
  if (layout.result === 'error') return { outcome: 'refused', reason: reasonOf(layout), layout, remove }
  return {
    outcome: 'built',
    layout,
    memory: join(dir, 'memory.img'),
    startInfo: join(dir, 'start_info.bin'),
    sharedInfo: join(dir, 'shared_info.bin'),
    vcpu: join(dir, 'vcpu.bin'),
    remove,
  }
}

/** Times one build, its memory held in RAM and dropped. @throws Error if the kernel is refused. */
export async function oracleBench(kernel: string, options: OracleOptions): Promise<OracleTimings> {
  const { stdout } = await runCommand(undefined, [...commandLine(kernel, options), '--bench', '--quiet'])
  return JSON.parse(stdout) as OracleTimings
}
