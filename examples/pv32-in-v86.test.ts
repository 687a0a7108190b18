/**
 * A unit test that runs its guest: a 32-bit PAE kernel is entered in this process, as a guest of Xen, and finds the
 * state that the builder promises. No Xen, no root, no QEMU.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout"; the machine is v86-hypervisor.ts next to this file.
 * Gotcha: every byte has three addresses: virtual from 0xc0000000, guest-physical from 0, machine from 4 MiB.
 *
 *     node --test dist/examples/pv32-in-v86.test.js
 */
import { deepEqual, equal } from 'node:assert/strict'
import { test } from 'node:test'
import { buildDomain, readKernel } from 'xen-domain-builder'
import { assertMapped, assertStartInfo } from 'xen-domain-builder/testing'
import { ENTRY, pv32Kernel, REPORT, REPORT_PADDR, SEEN_PADDR } from './pv32-kernel.js'
import { runPv32, V86_MACHINE } from './v86-hypervisor.js'

test('a 32-bit PAE kernel is entered in the state that its Domain has', async () => {
  const config = {
    type: 'pv',
    memory: 32 * 2 ** 20,
    cmdline: 'quiet',
    purpose: 'vmm',
    ...V86_MACHINE,
  } as const
  const guest = buildDomain(await readKernel(pv32Kernel()), config)
  assertStartInfo(guest, { magic: 'xen-3.0-x86_32p', nr_pages: 0x2000n, cmd_line: 'quiet' })
  assertMapped(guest, BigInt(ENTRY), { paddr: 0x100000, mfn: 0x500 })

  const run = await runPv32(guest)
  equal(run.console, 'xen-3.0-x86_32p, nr_pages 0x00002000, cmd_line quiet')
  equal(run.reason, 0) // poweroff

  const found = new Uint32Array(run.read(REPORT_PADDR, 4 * REPORT.length).buffer)
  const report = Object.fromEntries(REPORT.map((name, i) => [name, found[i]]))
  const [{ registers: r, segments: s }] = guest.vcpus as [(typeof guest.vcpus)[number]]
  const low = (name: keyof typeof r) => Number(r[name])
  deepEqual(report, {
    ...{ eax: low('rax'), ecx: low('rcx'), edx: low('rdx'), ebx: low('rbx') },
    ...{ esi: low('rsi'), edi: low('rdi'), ebp: low('rbp'), esp: low('rsp') },
    ...{ cs: s.cs.selector, ss: s.ss.selector, ds: s.ds.selector, es: s.es.selector },
    ...{ fs: s.fs.selector, gs: s.gs.selector },
    ...{ eip: low('rip'), eflags: low('rflags') | 2 }, // bit 1 is always one
  })
  const startInfo = guest.boot.kind === 'start_info' ? guest.boot.startInfo.pfn * 4096 : Number.NaN
  deepEqual(run.read(SEEN_PADDR, 1112), guest.memory.read(startInfo, 1112))
})
