/** Tests of the examples that run guests in this process, and of the limits of those guests. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { bootLinux } from '../../examples/linux-in-v86.js'
import { FAULT, runPv32, V86_MACHINE } from '../../examples/v86-hypervisor.js'
import { runInV86 } from '../../examples/v86-machine.js'
import { HYPERCALL, HYPERCALL_VECTOR, SCHEDOP } from '../../lib/abi/hypercall.js'
import { StartInfo32 } from '../../lib/abi/start-info.js'
import { mem, registers as R } from '../../lib/asm/assembler.js'
import { SystemAssembler } from '../../lib/asm/system.js'
import { bootRom, buildDomain, type Domain, readKernel, walkPageTables } from '../../lib/index.js'
import { buildElf, xenNotes } from '../../lib/testing/index.js'
import { parseReport, type StateKernel, stateElf } from '../fixtures/state-kernel.js'
import { findKernel } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { checkState } from '../qemu/state-check.js'

test('the unit test of a 32-bit PAE image passes under node --test', async (t) => {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => key !== 'NODE_TEST_CONTEXT'))
  const file = join(projectRoot, 'dist/examples/pv32-in-v86.test.js')
  const { status, stdout } = spawnSync(process.execPath, ['--test', file], { encoding: 'utf8', env })
  t.equal(status, 0, stdout)
  t.match(stdout, /pass 1\n/)
})

/** A kernel of these instructions. */
async function guestOf(write: (a: SystemAssembler) => void): Promise<Domain> {
  const entry = 0xc0100000
  const a = new SystemAssembler(entry, 32)
  write(a)
  const image = buildElf({
    class: 32,
    entry,
    segments: [{ paddr: 0x100000, vaddr: entry, data: a.assemble() }],
    notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', PAE_MODE: 'yes', VIRT_BASE: 0xc0000000 }),
  })
  return buildDomain(await readKernel(image), { type: 'pv', memory: 16 << 20, ...V86_MACHINE })
}

test('a guest reads its page tables and cannot write to them', async (t) => {
  const tables = (a: SystemAssembler) => a.mov(R.ebx, mem(R.esi, StartInfo32.offsetOf('pt_base')))
  const shutdown = (a: SystemAssembler) => {
    a.push(R.ecx) // the reason
    a.mov(R.ebx, SCHEDOP.shutdown)
    a.mov(R.ecx, R.esp)
    a.mov(R.eax, HYPERCALL.sched_op)
    a.bytes(0xcd, HYPERCALL_VECTOR)
  }
  const reader = await guestOf((a) => {
    tables(a)
    a.mov(R.ecx, mem(R.ebx, 3 * 8)) // slot 3 of the top table
    a.shr(R.ecx, 12)
    a.and(R.ecx, 0x7f)
    shutdown(a)
  })
  const [top] = walkPageTables(reader)
  t.equal((await runPv32(reader)).reason, Number((top?.entries[3] ?? 0n) >> 12n) & 0x7f, "a table's machine frame")

  const writer = await guestOf((a) => {
    tables(a)
    a.mov(mem(R.ebx), R.ebx)
    shutdown(a)
  })
  const run = await runPv32(writer)
  t.equal(run.reason, FAULT)
  const [{ pfn } = { pfn: 0 }] = walkPageTables(writer)
  t.same(run.read(pfn * 4096, 4096), writer.memory.read(pfn * 4096, 4096), 'as it was')
  t.equal((await runPv32(await guestOf((a) => a.hlt()))).reason, FAULT, 'nor stop the processor')
  t.equal((await runPv32(await guestOf((a) => a.outb()))).reason, FAULT, 'nor use a port')
})

test('a Linux entry with paging on, p and v apart, in ring 1', async (t) => {
  const kernel: StateKernel = { bits: 32, address: 0x1000000, ring0: false, vaddr: 0xc1000000, spins: true }
  const config = { subarch: 'xen', ring: 1, paging: true } as const
  const bytes = 64 << 20
  const guest = buildDomain(await readKernel(stateElf(kernel)), {
    memory: bytes,
    cmdline: 'state',
    ...config,
    type: 'linux',
  })
  const [vcpu] = guest.vcpus
  if (!vcpu) return t.fail('no vcpu')
  // v86 takes a large page for a table unless cr4.PSE is set; a real processor ignores that bit with PAE.
  const rom = bootRom({ ...vcpu, cr4: vcpu.cr4 | 0x10n }, 0x9e000)
  const { console } = await runInV86({ bytes, rom, content: guest.memory.chunks() }, /START [0-9a-f]{128}\n/)
  checkState(t, { kernel, config }, guest, parseReport(console, 32))
})

test("Debian's Linux with PAE boots in this process", async (t) => {
  const file = await requirePeer(t, () => findKernel('debian-686-pae'))
  if (file === undefined) return
  const said = await bootLinux(readFileSync(file), 'x=1')
  t.match(said, /BIOS-e820: \[mem 0x0000000000100000-0x0000000007ffffff\] usable/)
  t.match(said, /Kernel command line: earlyprintk=serial,ttyS0,115200 x=1\s*\n/)
})
