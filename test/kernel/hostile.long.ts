/**
 * A hundred thousand damaged kernels: each is refused in one line or read, quickly, and in little memory.
 *
 * Source: ../fixtures/mutator.ts; issue and security reports of other ELF loaders (linux-loader, goblin, Solo5).
 * Gotcha: this does not cover bombs in each codec; payload-limits.long.ts does.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { kernelText } from '../../lib/inspect/describe.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { bootVerdicts } from '../../lib/kernel/verdict.js'
import { buildElf, patternBytes, type SectionSpec, type SegmentSpec, xenNotes } from '../../lib/testing/index.js'
import type { HostileReport } from './hostile-child.js'

t.test('damaged kernels', async (t) => {
  const script = fileURLToPath(new URL('./hostile-child.js', import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', maxBuffer: 2 ** 24 })
  if (stderr !== '') throw new Error(stderr)
  const { cases, refused, bootable, slowest, before, peak, failures } = JSON.parse(stdout) as HostileReport
  t.same(failures, [], 'nothing but DomainBuilderError, in one printable line')
  t.ok(cases >= 100_000, `${cases} cases`)
  t.ok(slowest.ms < 2000, `the slowest took ${slowest.ms} ms: ${slowest.name}`)
  const more = (peak - before) / 2 ** 20
  t.ok(more < 256, `all of them took ${more.toFixed(0)} MiB`)
  t.ok(refused > cases / 4 && bootable > cases / 20, 'refused and bootable ones are both met')
  t.comment({ cases, refused, bootable, slowest, more })
})

/** The largest number of headers that an ELF can state. */
const MOST = 0xfffe

t.test('tables as large as they get', async (t) => {
  const notes = xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', ENTRY: 0x1000, VIRT_BASE: 0 })
  const load: SegmentSpec = { paddr: 0x1000, data: patternBytes(4096), align: 1 }
  const many = <T>(value: T): T[] => new Array<T>(MOST - 2).fill(value)
  const none = new Uint8Array(0)
  const segment = (header: NonNullable<SegmentSpec['header']>): SegmentSpec => ({
    paddr: 0,
    data: none,
    align: 1,
    header,
  })
  const section = (header: NonNullable<SectionSpec['header']>): SectionSpec => ({ name: '', data: none, header })
  const file = { class: 64, entry: 0x1000, segments: [load], notes } as const
  const tables = {
    'as many segments': { ...file, segments: [load, ...many({ ...load, data: none, memsz: 1 })] },
    'as many segments of notes': {
      ...file,
      segments: [load, ...many(segment({ p_type: 4, p_offset: 0x10000, p_filesz: 0x1000 }))],
    },
    'as many segments of padding': {
      ...file,
      segments: [load, ...many(segment({ p_type: 4, p_offset: 0x1004, p_filesz: 4, p_align: 8 }))],
    },
    'as many sections': {
      ...file,
      sections: many(section({ sh_name: 1, sh_type: 7, sh_offset: 0x1000, sh_size: 4096 })),
      notes: [],
    },
    'as many symbol tables': {
      ...file,
      sections: many(section({ sh_type: 2, sh_link: 1, sh_offset: 0, sh_size: 0x100000 })),
    },
    'as many notes': { ...file, notes: many({ type: 9, desc: 'yes' }) },
  }
  for (const [what, spec] of Object.entries(tables)) {
    const bytes = buildElf(spec)
    const start = process.cpuUsage()
    try {
      const kernel = await readKernel(bytes)
      bootVerdicts(kernel)
      kernelText(kernel)
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
    }
    const { user, system } = process.cpuUsage(start)
    t.ok(user + system < 2e6, `${what}: ${(user + system) / 1000} ms`)
  }
})
