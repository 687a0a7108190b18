/**
 * Every format into every other and back; debuggers on our cores.
 *
 * Source: lib/snapshot; readelf(1), gdb(1).
 * Gotcha: frames in some formats are pfns and in others mfns; what a guest sees is the same in all of them.
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { requirePv } from '../../lib/guest/domain.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  readKernel,
  readVirtual,
  writeElfCore,
  writeXenCore,
} from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, FORMATS, sameGuest, THROUGH } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'

const build = async (elfClass: 32 | 64, memory = 8 * 2 ** 20): Promise<Domain> =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass })), {
    type: 'pv',
    memory,
    ramdisk: pattern(9000),
    vcpus: 3,
    mapRamdisk: true,
  })

t.test('every format into every other and back', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const built = await build(elfClass)
    for (const one of FORMATS) {
      const first = THROUGH[one](built)
      sameGuest(t, first, built, one)
      for (const other of FORMATS) {
        const there = THROUGH[other](first)
        sameGuest(t, there, built, `${one} to ${other}`)
        sameGuest(t, THROUGH[one](there), built, `${one} to ${other} and back`)
      }
    }
  }
})

t.test('cores keep a p2m, regions and kernel; a core of xl goes without our note', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const built = buildDomain(kernel, { type: 'pv', memory: 8 * 2 ** 20, p2m: { offset: 99 }, cmdline: 'quiet' })
  for (const format of ['xen-core', 'elf-core'] as const) {
    const read = THROUGH[format](built)
    sameGuest(t, read, built, format)
    t.same(read.regions, built.regions)
    t.same(read.boot, built.boot)
    t.same(read.kernel, built.kernel)
    t.equal(read.p2m.mfn(5), 104)
  }
  // The note's owner misspelt: a stranger's file, of which only what xl itself writes is left.
  const bytes = Buffer.from(bytesOf(writeXenCore(built)))
  bytes.write('xen-domain-stranger', bytes.indexOf('xen-domain-builder\0'), 18, 'latin1')
  const foreign = openSnapshot(bytesSource(bytes))
  t.same(foreign.vcpus, built.vcpus)
  t.equal(foreign.p2m.mfn(0x100), 0x100 + 99)
  t.same(requirePv(foreign).startInfo, requirePv(built).startInfo)
  const si = requirePv(built).startInfo.vaddr
  t.same(readVirtual(foreign, si, 14), readVirtual(built, si, 14))
})

t.test('readelf and gdb', async (t) => {
  const gdb = await requirePeer(t, () => findCommand('gdb', 'gdb'))
  if (!gdb) return
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (!vmlinuz) return
  const folder = mkdtempSync(join(tmpdir(), 'xdb-core-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'linux.core')
  const kernel = await readKernel(readFileSync(vmlinuz))
  const built = buildDomain(kernel, { type: 'pv', memory: 128 * 2 ** 20, cmdline: 'console=hvc0', vcpus: 2 })
  writeFileSync(file, bytesOf(writeElfCore(built)))
  const readelf = spawnSync('readelf', ['-lWn', file], { encoding: 'utf8' })
  t.equal(readelf.stderr, '')
  t.match(readelf.stdout, /NT_PRSTATUS/)
  const { rip = 0n, rsp = 0n } = built.vcpus[0]?.registers ?? {}
  const banner = Buffer.from('Linux version ')
  const at = Buffer.from(built.memory.read(0, 64 * 2 ** 20)).indexOf(banner)
  const ran = spawnSync(
    gdb,
    [
      '-nx',
      '-batch',
      '-ex',
      `core-file ${file}`,
      '-ex',
      'info registers rip rsp',
      '-ex',
      `x/16xb ${rip}`,
      '-ex',
      `x/s ${0xffffffff80000000n + BigInt(at)}`,
      '-ex',
      'bt 1',
    ],
    { encoding: 'utf8' },
  )
  t.match(ran.stdout, new RegExp(`rip +0x${rip.toString(16)}`))
  t.match(ran.stdout, new RegExp(`rsp +0x${rsp.toString(16)}`))
  const code = [...ran.stdout.matchAll(/^0x[0-9a-f]+(?: <[^>]*>)?:\t((?:0x[0-9a-f]{2}\t?){8})$/gm)].flatMap((m) =>
    (m[1] ?? '').trim().split('\t').map(Number),
  )
  t.same(code, [...readVirtual(built, rip, 16)], 'the bytes at the entry point')
  t.match(ran.stdout, /"Linux version \d/, 'linux_banner')
  t.match(ran.stdout, new RegExp(`#0 +0x0*${rip.toString(16)} in`), 'a backtrace')
  // A raw read by physical address agrees: what a memory forensics tool does.
  const ours = Buffer.from(readFileSync(file))
  t.ok(ours.indexOf(banner) > 0)
  const small = join(folder, 'small.core')
  writeFileSync(small, bytesOf(writeXenCore(await build(64))))
  const sections = spawnSync('readelf', ['-SWn', small], { encoding: 'utf8' })
  t.equal(sections.stderr, '')
  t.match(sections.stdout, /\.xen_p2m/)
})
