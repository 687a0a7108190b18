/**
 * The rounds of a soak: each builds a guest, writes it in one format, opens it, converts it, and leaves some of it halfway.
 *
 * Source: lib/index.ts, lib/node/index.ts: the public interface.
 * Gotcha: a round depends on its number and seed alone, so a leak can be found by repeating one.
 */
import { mkdirSync, readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  type DomainConfig,
  openSnapshot,
  readKernel,
  SNAPSHOT_FORMATS,
  type SnapshotFormatName,
  writeSnapshot,
} from '../../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../../lib/node/index.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { Random } from '../fixtures/random.js'

const MiB = 2 ** 20
const FORMATS = Object.keys(SNAPSHOT_FORMATS) as readonly SnapshotFormatName[]

interface Guest {
  readonly kernel: Uint8Array
  readonly config: DomainConfig
}

/** With code at 0x200, where the 64-bit entry is. */
const bzImage = (): Uint8Array =>
  buildBzImage({
    payload: new Uint8Array(gzipSync(linuxKernelFile())),
    trailing: pattern(4096),
    header: { loadflags: 1, xloadflags: 3 },
  })

const GUESTS: Readonly<Record<string, () => Guest>> = {
  pv: () => ({
    kernel: pvKernelFile({ paddr: 0x1000, pages: 1 }),
    config: { type: 'pv', memory: 5 * MiB, purpose: 'restore' },
  }),
  'pv 32-bit': () => ({
    kernel: pvKernelFile({ class: 32, paddr: 0x1000, pages: 1 }),
    config: { type: 'pv', memory: 5 * MiB, purpose: 'restore' },
  }),
  pvh: () => ({
    kernel: pvhKernelFile({ paddr: 0x100000 }),
    config: { type: 'pvh', memory: 2 * MiB, purpose: 'restore' },
  }),
  'pvh vmm': () => ({
    kernel: pvhKernelFile({ paddr: 0x100000 }),
    config: { type: 'pvh', memory: 2 * MiB, purpose: 'vmm' },
  }),
  linux: () => ({ kernel: linuxKernelFile(), config: { type: 'linux', memory: 24 * MiB, ramdisk: pattern(777) } }),
  ...Object.fromEntries(
    ([16, 32, 64] as const).map((entry) => [
      `linux ${entry}`,
      (): Guest => ({ kernel: bzImage(), config: { type: 'linux', memory: 64 * MiB, entry } }),
    ]),
  ),
}
const GUEST_NAMES = Object.keys(GUESTS)

/** The number of rounds by their ending, and by kind of guest and format. */
export type Counts = Record<string, number>

/** Does something that may be refused. Returns undefined for a refusal, which is counted. */
async function orRefused<T>(counts: Counts, action: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    counts[`refused: ${error.code}`] = (counts[`refused: ${error.code}`] ?? 0) + 1
    return undefined
  }
}

/** Reads some chunks of a guest, or all of them; an iterator may be left halfway. */
function readSome(r: Random, { memory }: Domain): void {
  let left = r.percent(30) ? Number.POSITIVE_INFINITY : r.integer(0, 3)
  for (const _ of memory.chunks()) if (left-- <= 0) break
}

/** Runs one round in `folder`, which it may fill: the caller empties it. */
export async function round(number: number, seed: number, folder: string, counts: Counts): Promise<void> {
  const r = new Random(seed * 1_000_003 + number)
  const count = (what: string): void => {
    counts[what] = (counts[what] ?? 0) + 1
  }
  const name = GUEST_NAMES[number % GUEST_NAMES.length] as string
  const format = FORMATS[Math.floor(number / GUEST_NAMES.length) % FORMATS.length] as SnapshotFormatName
  const { kernel, config } = (GUESTS[name] as () => Guest)()
  // A fifth of the kernels is cut or damaged.
  if (r.percent(10)) await orRefused(counts, () => readKernel(kernel.subarray(0, r.integer(0, kernel.length - 1))))
  if (r.percent(10)) {
    const damaged = kernel.slice()
    for (let i = 0; i < 8; i++) damaged[r.integer(0, damaged.length - 1)] = r.integer(0, 255)
    await orRefused(counts, async () => buildDomain(await readKernel(damaged), config))
  }
  const controller = new AbortController()
  if (r.percent(5)) {
    controller.abort()
    await readKernel(kernel, { signal: controller.signal }).catch(() => count('aborted'))
  }
  const domain = await orRefused(counts, async () => buildDomain(await readKernel(kernel), config))
  if (domain === undefined) return
  count(`built: ${name}`)
  readSome(r, domain)
  const path = join(folder, 'guest')
  mkdirSync(folder, { recursive: true })
  const compress = r.percent(20) ? ({ compress: 'gzip' } as const) : {}
  const written = await orRefused(counts, () => writeSnapshotFile(domain, path, { format, ...compress }))
  if (written === undefined) return
  count(`written: ${format}`)
  // In memory as well: the pieces of a file, of which not all are taken.
  for (const file of (await orRefused(counts, () => writeSnapshot(domain, format, { name: 'x' }))) ?? []) {
    let left = r.integer(0, 4)
    for (const _ of file.pieces()) if (left-- <= 0) break
  }
  const opened = await orRefused(counts, () => openSnapshotFile(path))
  if (opened !== undefined) {
    count(`opened: ${opened.format}`)
    readSome(r, opened.domain)
    const other = r.pick(FORMATS)
    const again = await orRefused(counts, () =>
      writeSnapshotFile(opened.domain, join(folder, 'again'), { format: other }),
    )
    if (again !== undefined) count(`converted to: ${other}`)
    opened.close()
  }
  if (r.percent(25)) {
    const [main = path] = readdirSync(folder).map((file) => join(folder, file))
    truncateSync(main, r.integer(0, 5000))
    const cut = await orRefused(counts, () => openSnapshotFile(path))
    cut?.close()
    await orRefused(counts, () => openSnapshot(bytesSource(pattern(r.integer(0, 3000)))))
  }
}
