/**
 * Runs decode() in a separate process: measures its memory, and how soon it refuses a bomb.
 *
 * Source: lib/kernel/payload.ts: no allocation of a size that the input claims. The output of a WebAssembly decoder is
 * copied once, since its memory cannot be kept.
 * Gotcha: a bare process takes about 45 MiB, which the limits here include.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { CODEC_NAMES, type CodecName } from '../../lib/codec/magic.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { compress, PEERS } from './codec-peers.js'
import type { ChildReport } from './payload-child.js'

const MiB = 2 ** 20
const LIMIT = 1024 * MiB

/** The formats whose decoder is WebAssembly. */
const COPIED: readonly CodecName[] = ['lzma', 'xz', 'zstd']

/** The program that runs this test: larger than any kernel, and x86 code. */
const program = readFileSync(process.execPath)

t.test('in a separate process', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-payload-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const child = (codec: CodecName, packed: Uint8Array): ChildReport => {
    const file = join(folder, codec)
    writeFileSync(file, packed)
    const script = fileURLToPath(new URL('./payload-child.js', import.meta.url))
    const { stdout, stderr } = spawnSync(process.execPath, [script, file, String(LIMIT)], { encoding: 'utf8' })
    rmSync(file)
    if (stderr !== '') throw new Error(stderr)
    return JSON.parse(stdout) as ChildReport
  }
  const hash = createHash('sha256').update(program).digest('hex')

  for (const codec of CODEC_NAMES) {
    const peer = PEERS[codec]
    const fastest = peer.args.at(-1) ?? []
    const withPeer = async (t: Test) => requirePeer(t, () => findCommand(peer.command, peer.from))

    await t.test(`${codec}: a large file, in little memory`, async (t) => {
      if (!(await withPeer(t))) return
      const packed = compress(codec, program, fastest)
      const { sha256, peak } = child(codec, packed)
      t.equal(sha256, hash)
      const copies = COPIED.includes(codec) ? 2 : 1
      const more = (peak - copies * program.length - packed.length) / MiB
      t.ok(more <= 128, `in addition to input and output it took ${more.toFixed(0)} MiB`)
    })

    await t.test(`${codec}: 1100 MiB of zeros, within a limit of 1 GiB`, async (t) => {
      if (!(await withPeer(t))) return
      // A tenth, ten times, if streams join; otherwise all at once, outside this process.
      const packed = peer.joins
        ? Buffer.concat(new Array<Uint8Array>(10).fill(compress(codec, new Uint8Array(110 * MiB), fastest)))
        : execFileSync('sh', ['-c', `head -c ${1100 * MiB} /dev/zero | ${peer.command} ${fastest.join(' ')}`], {
            maxBuffer: LIMIT,
          })
      const { code, ms, peak } = child(codec, packed)
      t.equal(code, 'payload-too-large')
      t.ok(ms < 2000, `refused after ${ms.toFixed(0)} ms`)
      const more = (peak - packed.length) / MiB
      t.ok(more < 256, `it took ${more.toFixed(0)} MiB`)
    })
  }
})
