/**
 * npm run bench:search [-- KERNEL]: searches a sparse guest of 16 GiB and a dense one of 2 GiB, next to grep over the same bytes.
 *
 * Source: LC_ALL=C grep -abo of the same machine in the same run; both times are those of the whole process.
 * Gotcha: both must find the same places, so the offsets of grep are compared with the addresses first.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { buildDomain, type Domain, PAGE_SIZE, readKernel } from '../lib/index.js'
import { writeSnapshotFile } from '../lib/node/index.js'
import { pvhKernelFile } from '../test/fixtures/kernels.js'
import { withKernel } from './with-kernel.js'

const MiB = 2 ** 20
const ROUNDS = 5
/** The limit, as a multiple of grep's time. */
const ALLOWED = 2
const MAIN = fileURLToPath(new URL('../package/cli/main.js', import.meta.url))

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const least = (values: readonly number[]): number => Math.min(...values)

/** Searches, by the options of both programs. */
const SEARCHES = [
  { name: 'text', xdb: ['Linux version'], grep: ['-F', 'Linux version'] },
  { name: 'text, often found', xdb: ['module'], grep: ['-F', 'module'] },
  { name: 'text, absent', xdb: ['no such text'], grep: ['-F', 'no such text'] },
  { name: 'bytes with a wildcard', xdb: ['--hex', '0f 01 ?? 0f 01'], grep: ['-P', '\\x0f\\x01[\\s\\S]\\x0f\\x01'] },
  { name: 'expression', xdb: ['--regex', 'Linux version [0-9.]+'], grep: ['-P', 'Linux version [0-9.]+'] },
  {
    name: 'expression without a literal',
    xdb: ['--regex', '[0-9]+\\.[0-9]+\\.[0-9]+-[a-z]+'],
    grep: ['-P', '[0-9]+\\.[0-9]+\\.[0-9]+-[a-z]+'],
  },
] as const

interface Ran {
  readonly ms: number
  readonly out: string
}

function run(command: string, args: readonly string[]): Ran {
  const start = performance.now()
  const { status, stdout, stderr } = spawnSync(command, args, {
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 2 ** 30,
    encoding: 'latin1',
  })
  if (status === null || status > 1) throw new Error(`${command} ${args.join(' ')}: ${stderr}`)
  return { ms: performance.now() - start, out: stdout }
}

/** A snapshot, a file of its data alone, and the guest's address of each offset in that. */
interface Case {
  readonly name: string
  readonly snapshot: string
  readonly data: string
  addressOf(offset: number): number
}

function compare({ name, snapshot, data, addressOf }: Case): void {
  for (const search of SEARCHES) {
    const xdb = () => run(process.execPath, [MAIN, 'search', snapshot, ...search.xdb])
    const grep = () => run('grep', ['-abo', search.grep[0], '--', search.grep[1], data])
    const ours = [...xdb().out.matchAll(/^0x([0-9a-f]+) /gm)].map(([, hex = '']) => Number.parseInt(hex, 16))
    const theirs = [...grep().out.matchAll(/^(\d+):/gm)].map(([, offset]) => addressOf(Number(offset)))
    if (ours.join() !== theirs.join()) throw new Error(`${name}, ${search.name}: ${ours.length} and ${theirs.length}`)
    const rounds = Array.from({ length: ROUNDS }, () => ({ xdb: xdb().ms, grep: grep().ms }))
    const [own, peer] = [least(rounds.map((r) => r.xdb)), least(rounds.map((r) => r.grep))]
    print(
      `${name}: ${search.name}, ${ours.length} found: ${own.toFixed(0)} ms, grep ${peer.toFixed(0)}, ` +
        `ratio ${(own / peer).toFixed(2)} of ${ALLOWED}`,
    )
  }
}

/** A PVH guest whose memory has a kernel's bytes at some places. */
async function guest(memory: number, bytes: Uint8Array, places: readonly number[]): Promise<Domain> {
  const domain = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory, purpose: 'vmm' })
  for (const place of places) domain.memory.place(place, bytes)
  return domain
}

await withKernel(async (elf, file) => {
  // Whole pages.
  const bytes = elf.slice(0, elf.length - (elf.length % PAGE_SIZE))
  const sparse = await guest(
    16 * 1024 * MiB,
    bytes,
    Array.from({ length: 12 }, (_, i) => (64 + i * 1024) * MiB + 4 * 1024 * MiB),
  )
  await writeSnapshotFile(sparse, file('sparse.core'), { format: 'elf-core' })
  const runs: { readonly offset: number; readonly paddr: number }[] = []
  const fd = openSync(file('sparse.data'), 'w')
  let offset = 0
  for (const { pfn, pages } of sparse.memory.pages()) {
    runs.push({ offset, paddr: pfn * PAGE_SIZE })
    for (const part of sparse.memory.contents(pfn * PAGE_SIZE, pages * PAGE_SIZE)) offset += writeSync(fd, part)
  }
  closeSync(fd)
  print(`sparse: 16 GiB, ${(offset / MiB).toFixed(0)} MiB of data`)
  compare({
    name: 'sparse',
    snapshot: file('sparse.core'),
    data: file('sparse.data'),
    addressOf(at) {
      const found = runs.findLast((candidate) => candidate.offset <= at)
      if (found === undefined) throw new Error('no run')
      return found.paddr + at - found.offset
    },
  })
  rmSync(file('sparse.core'))
  rmSync(file('sparse.data'))
  const count = Math.floor((2048 * MiB - 32 * MiB) / bytes.length)
  const dense = await guest(
    2048 * MiB,
    bytes,
    Array.from({ length: count }, (_, i) => 32 * MiB + i * bytes.length),
  )
  await writeSnapshotFile(dense, file('dense.img'), { format: 'raw' })
  compare({ name: 'dense', snapshot: file('dense.img'), data: file('dense.img'), addressOf: (at) => at })
})
