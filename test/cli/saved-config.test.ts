/**
 * A saved configuration is not carried along unnoticed: inspect shows it, convert reports it, an option omits it.
 *
 * Source: lib/inspect/saved-config.ts.
 * Gotcha: only settings beyond the guest itself are reported; the configuration that writeXl makes has none.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { buildDomain, bytesSource, openSnapshot, readKernel, writeXl } from '../../lib/index.js'
import { savedConfigSummary, savedSettings } from '../../lib/inspect/saved-config.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'
import { runCommand } from './command.js'

const CONFIG = {
  c_info: { type: 'pv', name: 'guest', uuid: '0e0e0e0e-0000-4000-8000-000000000000' },
  b_info: { max_vcpus: 1, avail_vcpus: [0], max_memkb: 8192, target_memkb: 8192, device_model: '/tmp/evil\u001b[31m' },
  disks: [{ pdev_path: '/dev/sda', readwrite: 1 }],
}

t.test('shown, told, left out', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'xdb-config-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string) => path.join(folder, name)
  const xdb = (...args: string[]) => runCommand(args, { cwd: folder })
  writeFileSync(file('kernel'), pvKernelFile())
  t.match(xdb('build', 'kernel', '-o', 'a.img', '--type', 'pv', '--memory', '8', '--purpose', 'restore'), {
    code: 0,
    err: '',
  })
  t.match(xdb('convert', 'a.img', '-o', 'plain.xl'), { code: 0, err: '' }, 'a guest that has none')
  const sidecar = JSON.parse(readFileSync(file('a.img.json'), 'utf8')) as Record<string, unknown>
  writeFileSync(
    file('a.img.json'),
    JSON.stringify({ ...sidecar, saved: { config: JSON.stringify(CONFIG), records: [] } }),
  )

  const shown = xdb('inspect', 'a.img').text
  for (const line of [/b_info\.device_model +\/tmp\/evil\\x1b\[31m\n/, /disks\[0\]\.pdev_path +\/dev\/sda\n/])
    t.match(shown, line)
  const answer = JSON.parse(xdb('inspect', 'a.img', '--json').text) as { saved: unknown }
  t.same(answer.saved, { config: savedSettings(JSON.stringify(CONFIG)), records: [] })

  for (const name of ['with.xl', 'with.core', 'with.img']) {
    const { code, err } = xdb('convert', 'a.img', '-o', name)
    t.equal(code, 0)
    t.equal(
      err,
      'a.img: the configuration that the guest was saved with is kept (--drop-config leaves it out): ' +
        '3 settings, among them b_info.device_model = /tmp/evil\\x1b[31m, disks[0].pdev_path = /dev/sda\n',
      name,
    )
  }
  t.match(xdb('convert', 'a.img', '-o', 'without.xl', '--drop-config'), { code: 0, err: '' })
  t.match(readFileSync(file('with.xl'), 'latin1'), 'pdev_path')
  t.notMatch(readFileSync(file('without.xl'), 'latin1'), 'pdev_path')
  t.same(readFileSync(file('without.xl')), readFileSync(file('plain.xl')), 'as if there had never been one')
  const { saved } = await openSnapshot(bytesSource(readFileSync(file('without.xl'))))
  t.same(savedSettings(saved?.config ?? 'none'), [], 'only what every guest has')
})

t.test('any text', (t) => {
  t.same(savedSettings('{'), [{ name: '(not JSON)', value: '{' }])
  t.same(savedSettings('7'), [{ name: '(no object)', value: '7' }])
  t.same(savedSettings('[1, {}, null]'), [
    { name: '[0]', value: '1' },
    { name: '[1]', value: '{}' },
    { name: '[2]', value: 'null' },
  ])
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  t.same(
    savedSettings(deep).map(({ value }) => value),
    ['(nested too deep)'],
  )
  t.equal(savedConfigSummary(JSON.stringify({ c_info: CONFIG.c_info, b_info: { 'type.pv': {} } })), undefined)
  t.equal(savedConfigSummary('{"a":1}'), '1 setting')
  const files = Object.fromEntries(['a', 'b', 'c', 'd'].map((key) => [key, `/${key}`]))
  t.equal(savedConfigSummary(JSON.stringify(files)), '4 settings, among them a = /a, b = /b, c = /c and 1 more')
  t.end()
})

t.test('a guest that never ran keeps the configuration that xl saved it with', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'xdb-unrun-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string) => path.join(folder, name)
  const kernels = { pv: pvKernelFile(), pvh: pvhKernelFile() }
  for (const type of ['pv', 'pvh'] as const) {
    const config = JSON.stringify({ ...CONFIG, c_info: { ...CONFIG.c_info, type } })
    const kernel = await readKernel(kernels[type])
    const built = buildDomain(kernel, { type, memory: 20 * 2 ** 20, purpose: 'restore' })
    // As xl create -p and xl save leave it: at the first instruction, with disks.
    writeFileSync(file('unrun.xl'), bytesOf(writeXl({ ...built, saved: { config, records: [] } })))
    let before = 'unrun.xl'
    for (const name of ['a.img', 'b.core', 'c.dump', 'd.xl']) {
      const format = name === 'c.dump' ? ['--format', 'xen-core'] : []
      const { code, err } = runCommand(['convert', before, '-o', name, ...format], { cwd: folder })
      t.equal(code, 0, `${type}: ${name}`)
      t.match(err, /is kept \(--drop-config leaves it out\): 3 settings, among them .*disks\[0\]\.pdev_path/)
      before = name
    }
    t.same(readFileSync(file('d.xl')), readFileSync(file('unrun.xl')), `${type}: the same file`)
  }
})

t.test('a uuid replaces the saved one, and nothing else', async (t) => {
  const built = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20 })
  const uuid = '11111111-2222-4333-8444-555555555555'
  const withConfig = (config: string) => writeXl({ ...built, saved: { config, records: [] } }, { uuid })
  const read = await openSnapshot(bytesSource(bytesOf(withConfig(JSON.stringify(CONFIG)))))
  t.same(JSON.parse(read.saved?.config ?? ''), { ...CONFIG, c_info: { ...CONFIG.c_info, uuid } })
  for (const config of ['{', '7', '{"c_info": 7}']) t.throws(() => withConfig(config), { code: 'bad-snapshot' })
})
