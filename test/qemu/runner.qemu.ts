/** Guests that a program runs in QEMU: how they end, what they print, and their state at addresses and at the end. */
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import t, { type Test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { SCHEDOP } from '../../lib/abi/hypercall.js'
import { registers as R } from '../../lib/asm/assembler.js'
import { buildDomain, type Domain, type DomainConfig, readKernel, readStartInfo, readVirtual } from '../../lib/index.js'
import { openQemu } from '../../lib/runner/index.js'
import { EBX, type EndingKernel, endingKernel, GREETING, type KernelEnd, MARKS } from '../fixtures/ending-kernel.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { pv64Kernel } from '../fixtures/pv64-kernel.js'
import { setupKernel } from '../fixtures/setup-kernel.js'
import { parseReport, stateElf } from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu } from './harness.js'

/** Where runs have their files. */
process.env.TMPDIR = t.testdir()

const MiB = 2 ** 20
const GiB = 2 ** 30
const qemu = openQemu()
/** Seconds; an idle machine needs less than one. */
const timeout = 60

type Config = Partial<DomainConfig> & { readonly bits?: 32 | 64 }
/** The entries that one kernel has. */
const ENTRIES: Readonly<Record<string, Config>> = {
  PVH: { type: 'pvh' },
  '32-bit Linux': { type: 'linux', entry: 32 },
  '64-bit Linux': { type: 'linux', entry: 64, bits: 64 },
}

async function guestOf({ file }: EndingKernel, { bits: _, ...config }: Config = { type: 'pvh' }): Promise<Domain> {
  const purpose = config.type === 'pvh' ? { purpose: qemu.purpose } : {}
  return buildDomain(await readKernel(file), { memory: 64 * MiB, ...purpose, ...config } as DomainConfig)
}

const word = (guest: Domain, at: bigint): number =>
  new DataView(readVirtual(guest, at, 4).buffer.slice(0)).getUint32(0, true)

/** Returns the virtual address of a word in the kernel of a PV guest. */
function findWord(guest: Domain, word: bigint): bigint {
  const rip = guest.vcpus[0]?.registers.rip ?? 0n
  const start = rip - (rip % 4096n)
  const view = new DataView(readVirtual(guest, start, 4096).buffer)
  const found = Array.from({ length: 512 }, (_, i) => i * 8).find((at) => view.getBigUint64(at, true) === word)
  return start + BigInt(found ?? 0)
}

/** The files of runs that are left. */
const leftovers = (): string[] => readdirSync(tmpdir())

function checkInstants(
  t: Test,
  kernel: EndingKernel,
  entry: Domain,
  instants: readonly { at: unknown; guest: Domain }[],
) {
  t.same(
    instants.map(({ at }) => at),
    [kernel.at.entry, kernel.at.main, kernel.at.greeted, 'end'],
  )
  const [first, main, greeted, end] = instants.map(({ guest }) => guest) as [Domain, Domain, Domain, Domain]
  for (const guest of [first, main, greeted, end]) {
    t.equal(guest.type, entry.type)
    t.same(guest.memory.ranges, entry.memory.ranges)
  }
  const { rflags: _, ...registers } = first.vcpus[0]?.registers ?? {}
  t.match(entry.vcpus[0]?.registers, registers, 'every register at the entry is as it was built')
  t.same(first.vcpus[0]?.segments.cs.selector, entry.vcpus[0]?.segments.cs.selector)
  t.equal(first.vcpus[0]?.cr0, entry.vcpus[0]?.cr0)
  t.equal(first.vcpus[0]?.efer, entry.vcpus[0]?.efer)
  t.equal(main.vcpus[0]?.registers.rip, kernel.at.main)
  t.equal(greeted.vcpus[0]?.registers.rbx, BigInt(EBX))
  t.equal(word(main, kernel.at.mark), MARKS.before)
  t.equal(word(greeted, kernel.at.mark), MARKS.after)
  t.equal(word(end, kernel.at.mark), MARKS.after)
}

for (const [name, config] of Object.entries(ENTRIES)) {
  for (const how of ['stream', 'rom'] as const) {
    t.test(`${name}, by the ${how}: registers and memory at addresses and at the end`, async (t) => {
      if ((await requirePeer(t, findQemu)) === undefined) return
      const kernel = endingKernel({ status: 0x85 }, config.bits)
      const guest = await guestOf(kernel, config)
      const { entry, main, greeted } = kernel.at
      const run = await openQemu({ how }).run(guest, { timeout, stops: [greeted, main, entry] })
      t.equal(run.console, GREETING)
      t.same(run.ending, { kind: 'exit', code: 0x85 }, 'all eight bits of the status')
      checkInstants(t, kernel, guest, run.instants)
      run.close()
      t.throws(() => run.instants[0]?.guest.memory.read(Number(kernel.at.mark), 4), { code: 'cannot-read' })
    })
  }
}

t.test('how a guest ends', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const endings: readonly (readonly [KernelEnd, object, Parameters<typeof openQemu>[0]?])[] = [
    [{ status: 0 }, { kind: 'exit', code: 0 }],
    ['triple fault', { kind: 'reset' }],
    ['triple fault', { kind: 'reset' }, { how: 'rom' }],
    ['keyboard controller', { kind: 'reset' }, { machine: 'pc' }],
    ['keyboard controller', { kind: 'reset' }, { machine: 'q35' }],
    ['power management', { kind: 'shutdown', reason: 'poweroff' }, { machine: 'pc' }],
  ]
  for (const [end, ending, options] of endings) {
    const kernel = endingKernel(end)
    const run = await openQemu(options).run(await guestOf(kernel), { timeout })
    t.same(run.ending, ending, JSON.stringify([end, options]))
    t.equal(run.console, GREETING)
    t.same(
      run.instants.map(({ at, guest }) => [at, word(guest, kernel.at.mark)]),
      [['end', MARKS.after]],
      'its memory at the end',
    )
    run.close()
  }
  const kernel = endingKernel('never')
  const run = await qemu.run(await guestOf(kernel), { timeout: 1 })
  t.same(run.ending, { kind: 'timeout' })
  t.match(run.instants, [{ at: 'end', guest: { vcpus: [{ registers: { rbx: BigInt(EBX) } }] } }])
  run.close()
  t.same(leftovers(), [])
})

t.test('a guest that prints for ever is stopped when its console is enough', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const guest = await guestOf(endingKernel('prints'))
  const twice = await qemu.run(guest, { timeout, isEnough: (console) => console.split(GREETING).length > 2 })
  t.same(twice.ending, { kind: 'enough' })
  t.ok(twice.console.startsWith(GREETING + GREETING))
  twice.close()
  const failing = qemu.run(guest, {
    timeout,
    isEnough() {
      throw new Error('of the caller')
    },
  })
  await t.rejects(failing, { message: 'of the caller' })
  t.same(leftovers(), [])
})

t.test('a run that is aborted leaves nothing', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const guest = await guestOf(endingKernel('never'))
  const reason = new Error('no longer wanted')
  for (const after of [0, 30, 300]) {
    const abort = new AbortController()
    setTimeout(() => abort.abort(reason), after)
    await t.rejects(qemu.run(guest, { timeout, signal: abort.signal }), reason)
  }
  await t.rejects(qemu.run(guest, { timeout, signal: AbortSignal.abort(reason) }), reason)
  t.same(leftovers(), [])
})

t.test('a guest in real mode gets a BIOS, and a ROM of ours', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const guest = buildDomain(await readKernel(setupKernel(0x20c)), { type: 'linux', entry: 16, memory: 64 * MiB })
  t.match(openQemu({ how: 'stream' }).refusal(guest), /begins in real mode/)
  const run = await qemu.run(guest, { timeout })
  t.same(run.ending, { kind: 'reset' })
  t.ok(parseReport(run.console, 32).bootParams.length > 0, 'the kernel has reported its state')
  run.close()
})

t.test('many vcpus, and memory above 4 GiB', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const kernel = endingKernel({ status: 1 })
  const guest = await guestOf(kernel, { type: 'pvh', memory: 5 * GiB, vcpus: 128 })
  const run = await qemu.run(guest, { timeout, stops: [kernel.at.greeted] })
  t.same(run.ending, { kind: 'exit', code: 1 })
  for (const { guest: then } of run.instants) {
    t.same([then.vcpus.length, then.vcpus.filter(({ online }) => online).length], [128, 1])
    t.same(then.memory.ranges, guest.memory.ranges)
  }
  run.close()
})

t.test('the state kernel, which tells more', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const spec = { bits: 64, address: 0x1000000, ring0: true } as const
  const guest = buildDomain(await readKernel(stateElf(spec)), { type: 'linux', memory: 64 * MiB })
  const run = await qemu.run(guest, { timeout })
  t.same(run.ending, { kind: 'reset' })
  t.equal(parseReport(run.console, 64).fields.cr3, guest.vcpus[0]?.cr3)
  run.close()
})

t.test('a 64-bit PV guest runs under the supervisor, and is captured as the guest that it is', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  // The machine frames differ from the guest's own numbers, so that mixing them up would show.
  const build = async (file: Uint8Array) =>
    buildDomain(await readKernel(file), {
      type: 'pv',
      memory: 32 * MiB,
      p2m: { offset: 0x1234 },
      purpose: qemu.purpose,
    })
  const file = pv64Kernel(
    (a) => {
      a.mov(R.rbx, 0x1234567890abcdefn).mov(R.rax, R.rbx).mov(a.at('kept'), R.rax).say(R.rbx)
    },
    (a) => a.label('kept').u64(0n).u64(0x5eedn),
  )
  const guest = await build(file)
  const [vcpu] = guest.vcpus
  const entry = vcpu?.registers.rip ?? 0n
  for (const how of ['stream', 'rom'] as const) {
    const run = await openQemu({ how }).run(guest, { timeout, stops: [entry] })
    t.same(run.ending, { kind: 'shutdown', reason: 'poweroff' })
    t.equal(run.console, '1234567890abcdef\n')
    const [first, end] = run.instants.map((instant) => instant.guest) as [Domain, Domain]
    const { rflags, ...registers } = vcpu?.registers ?? {}
    t.match(first.vcpus[0]?.registers, registers, 'every register at the entry')
    t.same([first.type, first.boot.kind, first.vcpus[0]?.cr3], ['pv', 'start_info', vcpu?.cr3])
    t.same(first.vcpus[0]?.segments.cs, vcpu?.segments.cs)
    t.same(readStartInfo(first), readStartInfo(guest))
    t.equal(end.vcpus[0]?.registers.rbx, 0x1234567890abcdefn, 'the registers in its last hypercall')
    const at = findWord(end, 0x5eedn) - 8n
    t.equal(new DataView(readVirtual(end, at, 8).buffer).getBigUint64(0, true), 0x1234567890abcdefn)
    t.equal(new DataView(readVirtual(first, at, 8).buffer).getBigUint64(0, true), 0n)
    run.close()
  }
  const lacks = await qemu.run(await build(pv64Kernel((a) => a.hypercall('sched_op', SCHEDOP.block, 0))), { timeout })
  t.same([lacks.ending, lacks.console], [{ kind: 'hypercall', name: `sched_op ${SCHEDOP.block}` }, ''])
  lacks.close()
  const wrong = await qemu.run(await build(pv64Kernel((a) => a.bytes(0x0f, 0x0b))), { timeout })
  t.same(wrong.ending, { kind: 'exception', vector: 6, rip: entry + 3n })
  t.equal(wrong.console, '')
  t.equal(wrong.instants[0]?.guest.vcpus[0]?.registers.rip, entry + 3n, 'its registers are those at the exception')
  wrong.close()
  const hello = await qemu.run(await build(helloKernel()), { timeout })
  t.same(hello.ending, { kind: 'shutdown', reason: 'poweroff' })
  t.equal(hello.console, 'hello from start_info, nr_pages=0x2000\n'.repeat(2), 'on its console, and by console_io')
  hello.close()
})

t.test('a 32-bit PV guest is refused', async (t) => {
  const guest = buildDomain(await readKernel(pvKernelFile({ class: 32 })), { type: 'pv', memory: 32 * MiB })
  t.match(qemu.refusal(guest), /^the supervisor runs 64-bit PV guests alone/)
})
