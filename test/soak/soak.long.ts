/**
 * A short soak: the same rounds as `npm run soak`, which has to end level.
 *
 * Source: soak.ts.
 * Gotcha: a leak of a few bytes a round shows only in the long run.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

t.test('some rounds leave nothing', (t) => {
  const script = fileURLToPath(new URL('./soak.js', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', script, '300'], { encoding: 'utf8' })
  t.equal(status, 0, `${stdout}${stderr}`)
  for (const format of ['raw', 'qemu', 'xl', 'xen-core', 'elf-core', 'kdump', 'kexec', 'qemu-stream', 'libvirt'])
    t.match(stdout, new RegExp(`opened: ${format}\n`), `a file of ${format} was opened`)
  for (const guest of ['pv', 'pv 32-bit', 'pvh', 'pvh vmm', 'linux', 'linux 16', 'linux 32', 'linux 64'])
    t.match(stdout, new RegExp(`built: ${guest}\n`), `a guest was built: ${guest}`)
  t.end()
})
