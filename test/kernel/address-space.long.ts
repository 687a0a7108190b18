/**
 * The address space of kernels: kept ones take the addresses of their images, and little is enough to read one.
 *
 * Source: VmSize in /proc/self/status, proc_pid_status(5); `ulimit -v` of sh(1).
 * Gotcha: V8 reserves 10 GiB for each WebAssembly memory. Node 20 alone needs 0.75 GiB, and the command with its
 * threads 1.1 GiB, so the limit here leaves 0.4 GiB for the work. tap's options of Node start one thread more.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { CODEC_NAMES } from '../../lib/codec/magic.js'
import { buildBzImage, buildElf } from '../../lib/testing/index.js'
import { pattern } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { compress, PEERS } from './codec-peers.js'

const MiB = 2 ** 20
const KIB_LIMIT = 1536 * 1024
/** The command, as compiled. */
const XDB = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url))
const CHILD = fileURLToPath(new URL('./address-space-child.js', import.meta.url))

/** A Linux kernel of 8 MiB. */
const elf = buildElf({
  class: 64,
  entry: 0x1000000,
  segments: [{ paddr: 0x1000000, data: pattern(8 * MiB) }],
  notes: [{ owner: 'Linux', type: 0x101, desc: 0 }],
})

t.test('in a separate process', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-addresses-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const codec of CODEC_NAMES) {
    await t.test(codec, async (t) => {
      const peer = PEERS[codec]
      if (!(await requirePeer(t, () => findCommand(peer.command, peer.from)))) return
      const payload = compress(codec, elf, peer.args.at(-1))
      const file = join(folder, codec)
      writeFileSync(file, buildBzImage({ payload, ...(codec === 'gzip' ? {} : { sizeTrailer: elf.length }) }))
      for (const args of [
        ['check', file],
        ['inspect', file],
        ['build', file, '--type', 'linux', '--format', 'raw', '-o', join(folder, `${codec}-guest`)],
      ]) {
        const command = `unset NODE_OPTIONS && ulimit -v ${KIB_LIMIT} && exec "$0" "$@"`
        const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, XDB, ...args], {
          encoding: 'utf8',
        })
        t.equal(status, 0, `${args[0]} within ${KIB_LIMIT} KiB of addresses ${stderr}`)
      }
      const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', CHILD, file, '8'], {
        encoding: 'utf8',
      })
      t.equal(status, 0, stderr)
      const grown = Number(stdout)
      t.ok(
        grown <= 8 * 4 * elf.length + 128 * MiB,
        `8 kept kernels of 8 MiB took ${Math.round(grown / MiB)} MiB of addresses`,
      )
    })
  }
})
