/**
 * The same inputs give the same bytes in every version of Node.
 *
 * Source: the node package of the npm registry, whose versions `npx node@22` runs.
 * Gotcha: the output of gzip depends on Node's zlib, so only uncompressed files are the same.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { MAIN } from '../cli/command.js'
import { findNode } from '../docs/package.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { requirePeer } from '../peer/require-peer.js'

/** Guests with their MiB. A raw image of a PVH guest ends just below 4 GiB: it is sparse, but takes long to hash. */
const GUESTS = {
  pv: { memory: '16', formats: ['raw', 'xl', 'xen-core', 'elf-core'] },
  pvh: { memory: '20', formats: ['xl', 'xen-core', 'elf-core'] },
} as const

const folder = mkdtempSync(join(tmpdir(), 'xdb-node-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const file = (name: string): string => join(folder, name)
writeFileSync(file('pv'), pvKernelFile({ notes: { MOD_START_PFN: 1 } }))
writeFileSync(file('pvh'), pvhKernelFile())
writeFileSync(file('ramdisk'), pattern(50000))

/** Returns the sha256 of this Node's file of every guest in every format, by name. */
function builtBy(node: string): Readonly<Record<string, string>> {
  const out = mkdtempSync(file('out-'))
  for (const [type, { memory, formats }] of Object.entries(GUESTS)) {
    for (const format of formats) {
      const what = ['build', file(type), '--type', type, '--format', format, '-o', join(out, `${type}.${format}`)]
      const config = ['--memory', memory, '--vcpus', '2', '--cmdline', 'quiet', '--ramdisk', file('ramdisk')]
      execFileSync(node, [MAIN, ...what, ...config], { stdio: 'pipe' })
    }
  }
  const hash = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(join(out, name)))
      .digest('hex')
  return Object.fromEntries(readdirSync(out).map((name) => [name, hash(name)]))
}

const ours = builtBy(process.execPath)

for (const major of [20, 22, 24]) {
  t.test(`Node ${major} makes the same bytes`, async (t) => {
    const node = await requirePeer(t, () => findNode(major))
    if (node === undefined) return
    t.match(execFileSync(node, ['--version'], { encoding: 'utf8' }), new RegExp(`^v${major}\\.`))
    t.same(builtBy(node), ours)
    t.equal(Object.keys(ours).length, 8, 'seven snapshots, and the sidecar of the raw one')
  })
}
