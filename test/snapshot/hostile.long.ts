/**
 * Fifty thousand damaged snapshots: each is refused in one line with the place, or read, quickly, and in little memory.
 *
 * Source: ../fixtures/damaged-snapshots.ts; Xen docs/specs/libxc-migration-stream.pandoc for the records of a stream.
 * Gotcha: most of a snapshot is pages, whose content is never invalid, so random damage would rarely matter.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { HostileReport } from './hostile-child.js'

t.test('damaged snapshots', async (t) => {
  const script = fileURLToPath(new URL('./hostile-child.js', import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, [script], {
    encoding: 'utf8',
    maxBuffer: 2 ** 24,
  })
  if (stderr !== '') throw new Error(stderr)
  const { cases, outcomes, slowest, before, peak, failures } = JSON.parse(stdout) as HostileReport
  t.same(failures, [], 'nothing but DomainBuilderError, in one printable line that names a record and an offset')
  t.ok(cases >= 20_000, `${cases} cases`)
  t.ok(slowest.ms < 2000, `the slowest took ${slowest.ms} ms: ${slowest.name}`)
  const more = (peak - before) / 2 ** 20
  t.ok(more < 256, `all of them took ${more.toFixed(0)} MiB`)
  for (const [base, { opened, refused }] of Object.entries(outcomes)) {
    const all = opened + refused
    t.ok(opened > all / 20 && refused > all / 4, `${base}: ${opened} opened, ${refused} refused`)
  }
  t.comment({ cases, slowest, more })
})
