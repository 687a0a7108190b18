/**
 * The command converts large compressed files and pipes, of 400 MiB of noise, in little memory.
 *
 * Source: proc(5), VmHWM; gzip(1) and zstd(1) compress.
 * Gotcha: compressible data would pass in any memory, since it is small while it is compressed.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { pvKernelFile } from '../fixtures/kernels.js'
import { Random } from '../fixtures/random.js'
import { findCommand, findCommands } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { MAIN } from './command.js'

const MiB = 2 ** 20

t.test('the command needs no memory for what a compressed file or a pipe holds', async (t) => {
  if (!(await requirePeer(t, () => findCommands(['bash', 'bash'], ['gzip', 'gzip'])))) return
  const folder = mkdtempSync(path.join(tmpdir(), 'xdb-compressed-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string): string => path.join(folder, name)
  const kernel = file('kernel')
  writeFileSync(kernel, pvKernelFile())
  // Hardly compressible data, so that all files are large; it is placed, read and written in pieces everywhere.
  const random = new Random(1)
  const noise = Uint8Array.from({ length: MiB + 17 }, () => random.below(256))
  writeFileSync(file('ramdisk'), Buffer.alloc(400 * MiB, noise))
  const peakOf = (t: Test, args: readonly string[], input?: string): number => {
    const code = `process.on('exit',()=>process.report&&require('fs').writeSync(2,require('fs').readFileSync('/proc/self/status')))`
    writeFileSync(file('peak.cjs'), code)
    const feed = input === undefined ? '' : `cat '${input}' | `
    const ran = spawnSync('bash', [
      '-o',
      'pipefail',
      '-c',
      `${feed}exec env -u NODE_OPTIONS "$@"`,
      'bash',
      process.execPath,
      '--require',
      file('peak.cjs'),
      MAIN,
      ...args,
    ])
    t.equal(ran.status, 0, ran.stderr.toString().slice(0, 300))
    return Number(/VmHWM:\s*(\d+) kB/.exec(ran.stderr.toString())?.[1]) / 1024
  }
  const asked = ['--memory', '448', '--ramdisk', file('ramdisk')]
  t.equal(spawnSync(process.execPath, [MAIN, 'build', kernel, '-o', file('g.xl'), ...asked]).status, 0)
  t.equal(spawnSync('gzip', ['-1', '-k', file('g.xl')]).status, 0)
  t.equal(spawnSync(process.execPath, [MAIN, 'convert', file('g.xl'), '-o', file('wanted.xl')]).status, 0)
  const wanted = readFileSync(file('wanted.xl'))
  const bound = 160
  const shown: string[] = []
  const holds = (t: Test, what: string, args: readonly string[], input?: string) => {
    const peak = peakOf(t, [...args, '-o', file('again.xl')], input)
    t.ok(peak < bound, `${what}: ${Math.round(peak)} MiB, below ${bound}`)
    t.ok(readFileSync(file('again.xl')).equals(wanted), what)
    shown.push(`${what} ${Math.round(peak)} MiB`)
  }
  holds(t, 'a file', ['convert', file('g.xl')])
  holds(t, 'gzip', ['convert', file('g.xl.gz')])
  holds(t, 'a pipe', ['convert', '-'], file('g.xl'))
  holds(t, 'gzip through a pipe', ['convert', '-'], file('g.xl.gz'))
  await t.test('zstd', async (t) => {
    if (!(await requirePeer(t, () => findCommand('zstd', 'zstd')))) return
    t.equal(spawnSync('zstd', ['-q', '-1', file('g.xl')]).status, 0)
    holds(t, 'zstd', ['convert', file('g.xl.zst')])
  })
  t.comment(`${Math.round(wanted.length / MiB)} MiB converted, peak: ${shown.join(', ')}`)

  // Without room for temporary data, this is reported, and no output appears.
  const nowhere = spawnSync(process.execPath, [MAIN, 'convert', file('g.xl.gz'), '-o', file('none.xl')], {
    env: { ...process.env, TMPDIR: file('no-such-folder') },
    encoding: 'utf8',
  })
  t.equal(nowhere.status, 2)
  t.match(
    nowhere.stderr,
    /^xen-domain-builder: cannot-write: [^\n]*no-such-folder[^\n]*: no such file or directory[^\n]*\n$/,
  )
  t.notOk(existsSync(file('none.xl')))
  const plain = spawnSync(process.execPath, [MAIN, 'convert', file('g.xl'), '-o', file('none.xl')], {
    env: { ...process.env, TMPDIR: file('no-such-folder') },
  })
  t.equal(plain.status, 0, 'a file that is read where it is needs none')
  t.ok(statSync(file('g.xl.gz')).size > 0)
})
