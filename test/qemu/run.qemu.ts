/** Tests of the two commands that a user types: build --format qemu, and run. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BootParams } from '../../lib/abi/boot-params.js'
import { readBootParams } from '../../lib/guest/boot-params.js'
import { buildDomain, readKernel } from '../../lib/index.js'
import { MAIN } from '../cli/command.js'
import { parseReport, stateElf } from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, withDirectory } from './harness.js'

t.test('build --format qemu writes it, run starts it, the console is on standard output', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  await withDirectory(async (directory) => {
    const file = stateElf({ bits: 64, address: 0x1000000, ring0: true })
    writeFileSync(join(directory, 'kernel'), file)
    const xdb = (...args: readonly string[]) =>
      spawnSync(process.execPath, [MAIN, ...args], { cwd: directory, encoding: 'latin1', maxBuffer: 2 ** 26 })
    const built = xdb(
      'build',
      'kernel',
      '-o',
      'guest',
      '--type',
      'linux',
      '--format',
      'qemu',
      '--memory',
      '64',
      '--cmdline',
      'typed',
      '--reserve',
      '0x2000000-0x2100000',
    )
    t.equal(built.status, 0, built.stderr)
    t.match(built.stdout, /\nqemu-system-x86_64 -machine microvm .*-bios guest\.rom -device loader,file=guest\n$/)
    const ran = xdb('run', 'guest')
    t.equal(ran.status, 0, ran.stderr)
    const domain = buildDomain(await readKernel(file), {
      type: 'linux',
      memory: 64 * 2 ** 20,
      cmdline: 'typed',
      reserve: [{ start: 0x2000000, end: 0x2100000 }],
    })
    t.same(BootParams.decode(parseReport(ran.stdout, 64).bootParams), readBootParams(domain))
    // The command that build printed does the same.
    const shell = spawnSync('sh', ['-c', built.stdout.trim().split('\n').at(-1) ?? ''], {
      cwd: directory,
      encoding: 'latin1',
      maxBuffer: 2 ** 26,
    })
    t.equal(shell.stdout, ran.stdout)
    // Without a ROM, QEMU gets a stream, here of the same guest in another format.
    t.equal(xdb('convert', 'guest', '-o', 'guest.core', '--format', 'elf-core').status, 0)
    for (const machine of ['microvm', 'pc', 'q35']) {
      const streamed = xdb('run', 'guest.core', '--machine', machine)
      t.equal(streamed.status, 0, streamed.stderr)
      t.same(parseReport(streamed.stdout, 64).bootParams, parseReport(ran.stdout, 64).bootParams, machine)
    }
    t.match(
      xdb('run', 'guest', '--machine', 'pc').stderr,
      /--machine is for a guest without a boot ROM; guest.rom exists/,
    )
    // QEMU must not take a comma for the end of a file's name.
    for (const suffix of ['', '.json', '.rom'])
      copyFileSync(join(directory, `guest${suffix}`), join(directory, `a,cpu-num=9${suffix}`))
    t.equal(xdb('run', 'a,cpu-num=9').stdout, ran.stdout)
    t.match(xdb('run', 'kernel').stderr, /unknown-format: kernel is a kernel/)
  })
})
