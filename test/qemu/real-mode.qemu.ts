/**
 * Builds and runs our own setup code with the two commands that a user types. Checks its state at the entry, and that
 * it reaches code32_start, with a hook and without.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { MAIN } from '../cli/command.js'
import { setupKernel, setupRegisters } from '../fixtures/setup-kernel.js'
import { parseReport } from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, withDirectory } from './harness.js'

for (const protocol of [0x20f, 0x204, 0x202, 0x201, 0x200]) {
  for (const hooked of [false, true]) {
    t.test(`protocol 0x${protocol.toString(16)}${hooked ? ', through the hook' : ''}`, async (t) => {
      if ((await requirePeer(t, findQemu)) === undefined) return
      await withDirectory(async (directory) => {
        const xdb = (...args: readonly string[]) =>
          spawnSync(process.execPath, [MAIN, ...args], { cwd: directory, encoding: 'latin1', timeout: 120_000 })
        writeFileSync(join(directory, 'kernel'), setupKernel(protocol))
        const words = [
          '--type',
          'linux',
          '--entry',
          '16',
          '--format',
          'qemu',
          '--memory',
          '32',
          '--cmdline',
          'real mode',
        ]
        const reserve = hooked ? ['--reserve', '0x100000-0x110000'] : []
        const built = xdb('build', 'kernel', '-o', 'guest', ...words, ...reserve)
        t.equal(built.status, 0, built.stderr)
        t.match(built.stdout, /entered in real mode/)
        t.match(built.stdout, hooked ? /0x200 .* kernel\n.* hook\n/ : /0x100 .* kernel\n/)
        t.match(built.stdout, /-machine pc,\S+ .*-option-rom guest\.rom /)
        t.match(xdb('inspect', 'guest').stdout, /"real mode"/, 'read back')
        const ran = xdb('run', 'guest')
        t.equal(ran.status, 0, ran.stderr)
        const { fields, bootParams } = parseReport(ran.stdout, 32)
        const old = protocol < 0x202
        const base = old ? 0x90000 : 0x10000
        const { cr0, ...given } = setupRegisters(bootParams)
        t.same(given, {
          ...{ eax: 0, ebx: 0, ecx: 0, edx: 0, esi: 0, edi: 0, ebp: 0, esp: old ? 0x9000 : 0xe000 },
          ...{ eflags: 2, cs: base / 16 + 0x20 },
          ...{ ss: base / 16, ds: base / 16, es: base / 16, fs: base / 16, gs: base / 16 },
        })
        t.equal(cr0 & 1, 0, 'real mode')
        t.equal(fields.rsi, BigInt(base), 'the protected-mode code was entered')
        t.ok((fields.ip ?? 0n) >= 0x100000n && (fields.ip ?? 0n) < 0x101000n, 'at 1 MiB')
        t.equal(new DataView(bootParams.buffer, bootParams.byteOffset).getUint32(0x214, true), 0x100000, 'code32_start')
        for (const name of ['ds', 'es', 'ss', 'fs', 'gs']) t.equal(fields[name], 0x18n, name)
      })
    })
  }
}
