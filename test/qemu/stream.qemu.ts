/**
 * QEMU loads our streams, saves them again, and runs them; and we read the streams that it saves of running guests.
 *
 * Source: QEMU itself, which is the peer: its saved bytes, its monitor, its gdb stub.
 * Gotcha: a saved stream differs from ours in three places, each with its reason in `asSaved`.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { encodeLatin1, equal } from '../../lib/bytes.js'
import {
  buildDomain,
  type Domain,
  type DomainConfig,
  readKernel,
  readVirtual,
  type SegmentState,
  translate,
  writeElfCore,
} from '../../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../../lib/node/index.js'
import { QEMU_MACHINE_NAMES, qemuStreamArguments } from '../../lib/snapshot/qemu-machine.js'
import { writeQemuStream } from '../../lib/snapshot/qemu-stream.js'
import { bytesOf } from '../fixtures/snapshots.js'
import { stateElf } from '../fixtures/state-kernel.js'
import { findCommands } from '../peer/command.js'
import { type Architecture, findKernel, type KernelName } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { stoppedAt } from './gdb.js'
import { findQemu, LINUX_CMDLINE, runQemu, showConsole, withDirectory } from './harness.js'
import { guestSaid } from './linux-guest.js'
import { type Machine, withMachine } from './qmp.js'
import { findBusybox, payloadChecksum, ramdisk } from './ramdisk.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
type MachineName = (typeof QEMU_MACHINE_NAMES)[number]

const stateGuest = async (bits: 32 | 64, config: Partial<DomainConfig> = {}): Promise<Domain> =>
  buildDomain(await readKernel(stateElf({ bits, address: 0x1000000, ring0: true })), {
    type: 'linux',
    memory: 64 * MiB,
    cmdline: 'typed',
    ...config,
  } as DomainConfig)

/** Writes the stream, and calls `act` with its name and QEMU's arguments. */
function withStream<T>(
  domain: Domain,
  machine: MachineName,
  act: (file: string, args: readonly string[], directory: string) => Promise<T>,
): Promise<T> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest.mig')
    await writeSnapshotFile(domain, file, { format: 'qemu-stream', machine })
    return act(file, qemuStreamArguments(domain, file, machine), directory)
  })
}

interface Comparable {
  readonly sections: Buffer
  readonly description: string
}

/** Splits a stream before its description. QEMU may end a section of pages at any page and begin another. */
function comparable(stream: Uint8Array): Comparable {
  const bytes = Buffer.from(stream)
  const start = bytes.lastIndexOf('{"page_size"')
  const between = Buffer.from('0000000000000010' + '7e00000002' + '0200000002', 'hex')
  const parts: Buffer[] = []
  let at = 0
  for (let next = bytes.indexOf(between); next >= 0 && next < start; next = bytes.indexOf(between, at)) {
    parts.push(bytes.subarray(at, next))
    at = next + between.length
  }
  return {
    sections: Buffer.concat([...parts, bytes.subarray(at, start - 5)]),
    description: bytes.subarray(start).toString('latin1'),
  }
}

/** Returns our stream as QEMU would save it: without our member, and with the state of a paused machine. */
function asSaved(ours: Uint8Array): Comparable {
  const { sections, description } = comparable(ours)
  const state = sections.lastIndexOf('running\0')
  sections.writeUInt32BE('paused\0'.length, state - 4)
  sections.write('paused\0\0', state, 'latin1')
  return { sections, description: `${description.slice(0, description.indexOf(', "xen-domain-builder": '))}}` }
}

/** Returns a stream of QEMU without the clock, whose section has the time of day. */
function withoutClock(theirs: Uint8Array): Comparable {
  const { sections, description } = comparable(theirs)
  const name = Buffer.from('\x0bmc146818rtc', 'latin1')
  const start = sections.indexOf(name) - 5
  // Instance and version, 245 bytes of fields, and the end of the section.
  const end = start + 5 + name.length + 8 + 245 + 5
  return {
    sections: Buffer.concat([sections.subarray(0, start), sections.subarray(end)]),
    description: description.replace(/\{"name": "mc146818rtc".*?\]\}, /, ''),
  }
}

for (const machine of QEMU_MACHINE_NAMES) {
  for (const vcpus of [1, 4]) {
    t.test(`${machine}, ${vcpus} vcpus: QEMU loads the stream and saves the same bytes`, async (t) => {
      if ((await requirePeer(t, findQemu)) === undefined) return
      for (const bits of [32, 64] as const) {
        await withStream(await stateGuest(bits, { vcpus }), machine, (file, args) =>
          withMachine([...args, '-S'], async ({ save }) => {
            await save(`${file}.saved`)
            sameStream(t, readFileSync(file), readFileSync(`${file}.saved`), `${bits}-bit`)
          }),
        )
      }
    })
  }
}

function sameStream(t: Test, file: Uint8Array, saved: Uint8Array, what: string): void {
  const ours = asSaved(file)
  const theirs = withoutClock(saved)
  t.equal(ours.description, theirs.description, `${what}: description`)
  t.equal(ours.sections.length, theirs.sections.length, `${what}: length of the sections`)
  const at = ours.sections.findIndex((byte, i) => byte !== theirs.sections[i])
  t.equal(at, -1, `${what}: first difference`)
}

t.test('memory above the hole has its place in the same block', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const domain = await stateGuest(64, { memory: 3.5 * GiB })
  const mark = encodeLatin1('the first page above 4 GiB')
  domain.memory.write(4 * GiB, mark)
  for (const machine of ['microvm', 'pc'] as const) {
    await withStream(domain, machine, (file, args) =>
      withMachine([...args, '-S'], async ({ save, monitor }) => {
        const shown = await monitor('xp /1c 0x100000000')
        t.match(shown, /'t'/, `${machine}: QEMU has it there`)
        await save(`${file}.saved`)
        sameStream(t, readFileSync(file), readFileSync(`${file}.saved`), machine)
        const { domain: read, close } = await openSnapshotFile(`${file}.saved`)
        t.same(read.memory.ranges, [
          { start: 0, end: 0xc0000 },
          { start: 0x100000, end: 0x120000 },
        ])
        t.ok(equal(read.memory.read(4 * GiB, mark.length), mark))
        close()
      }),
    )
  }
  t.throws(
    () => writeQemuStream(domain, { machine: 'q35' }),
    /machine q35 has no RAM: .* found \[0x100000, 0xc0000000\)/,
  )
})

/** Returns the line of a segment as QEMU's monitor shows it: selector, base, limit and attributes. */
function segmentLine(name: string, { selector, descriptor }: SegmentState, isLong: boolean): RegExp {
  const { base = 0n, limit = 0, attributes = 0 } = descriptor ?? {}
  const digits = (value: number | bigint, length: number): string => value.toString(16).padStart(length, '0')
  // A copy of limit and base is in the flags, unless an instruction such as SYSCALL made them.
  const flags = `..${digits(attributes >>> 8, 1)}.${digits(attributes & 0xff, 2)}..`
  return new RegExp(
    `^${name.toUpperCase()} *=${digits(selector, 4)} ${digits(base, isLong ? 16 : 8)} ${digits(limit, 8)} ${flags}`,
    'm',
  )
}

function checkRegisters(t: Test, shown: string, domain: Domain): void {
  const [vcpu] = domain.vcpus
  if (vcpu === undefined) return
  const isLong = (vcpu.efer & 0x400n) !== 0n
  for (const [name, value] of Object.entries({ ...vcpu.registers, cr0: vcpu.cr0, cr3: vcpu.cr3, cr4: vcpu.cr4 })) {
    const label =
      isLong || /^cr/.test(name)
        ? name.replace(/^rflags$/, 'rfl')
        : name.replace(/^r(flags)?/, (_, flags) => (flags ? 'efl' : 'e'))
    if (!isLong && /^e\d/.test(label)) continue
    const found = new RegExp(`\\b${label.toUpperCase()} *=([0-9a-f]+)`).exec(shown)?.[1]
    t.equal(BigInt(`0x${found ?? 'ffffffffffffffffff'}`), value, name)
  }
  t.match(shown, new RegExp(`EFER=${vcpu.efer.toString(16).padStart(16, '0')}`))
  for (const [name, state] of Object.entries(vcpu.segments)) t.match(shown, segmentLine(name, state, isLong))
  if (vcpu.gdtr) t.match(shown, new RegExp(`GDT= +${vcpu.gdtr.base.toString(16).padStart(isLong ? 16 : 8, '0')} `))
}

t.test("QEMU's registers are those of the vcpu, with the hidden parts of segments; so are gdb's", async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  for (const bits of [32, 64] as const) {
    const domain = await stateGuest(bits)
    await withStream(domain, 'microvm', async (_file, args) => {
      await withMachine([...args, '-S'], async ({ monitor }) =>
        checkRegisters(t, await monitor('info registers'), domain),
      )
      const [{ registers: r }] = domain.vcpus as [Domain['vcpus'][number]]
      await stoppedAt(args, Number(r.rip), async ({ registers }) => {
        const names = 'rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip'.split(' ')
        t.same(
          registers,
          names.map((name) => r[name as keyof typeof r]),
          `${bits}-bit: gdb's registers`,
        )
      })
    })
  }
})

interface Boot {
  readonly name: string
  readonly kernel: KernelName
  readonly arch: Architecture
  readonly config: Partial<DomainConfig>
}
const BOOTS: readonly Boot[] = [
  { name: 'PVH', kernel: 'debian-amd64', arch: 'amd64', config: { type: 'pvh', purpose: 'vmm' } },
  { name: '64-bit entry', kernel: 'debian-amd64', arch: 'amd64', config: { type: 'linux', entry: 64 } },
  { name: '32-bit entry', kernel: 'debian-amd64', arch: 'amd64', config: { type: 'linux', entry: 32 } },
  { name: '686-pae, 32-bit entry', kernel: 'debian-686-pae', arch: 'i386', config: { type: 'linux', entry: 32 } },
]

async function linuxGuest(
  t: Test,
  { kernel, arch, config }: Boot,
  init: 'init' | 'init-clock',
): Promise<Domain | undefined> {
  if ((await requirePeer(t, findQemu)) === undefined) return undefined
  const busybox = await requirePeer(t, () => findBusybox(arch))
  const file = busybox === undefined ? undefined : await requirePeer(t, () => findKernel(kernel))
  if (busybox === undefined || file === undefined) return undefined
  return buildDomain(await readKernel(readFileSync(file)), {
    memory: 512 * MiB,
    cmdline: LINUX_CMDLINE,
    ramdisk: ramdisk(busybox, init),
    ...config,
  } as DomainConfig)
}

for (const boot of BOOTS) {
  t.test(`${boot.name}: Debian's kernel reaches user space on every machine`, async (t) => {
    const domain = await linuxGuest(t, boot, 'init')
    if (domain === undefined) return
    for (const machine of QEMU_MACHINE_NAMES) {
      const output = await withStream(domain, machine, (_file, args) => runQemu(args))
      t.same(guestSaid(output, 'PAYLOAD'), [payloadChecksum], `${machine}: the ramdisk arrived whole`)
      t.same(guestSaid(output, 'READY'), [boot.arch === 'amd64' ? 'x86_64' : 'i686'], machine)
      showConsole(t, output)
    }
  })
}

/** Checks that the guest's time advanced as the wall's between its two reports. */
async function checkClock(t: Test, { said, console }: Machine): Promise<void> {
  const start = await said(/GUEST-CLOCK[^\n]*\n/)
  const end = await said(/GUEST-CLOCK[^\n]*\n(?:[^\n]*\n)*?GUEST-CLOCK[^\n]*\n/)
  const [first = 0, second = 0] = guestSaid(console(), 'CLOCK').map((text) => Number.parseFloat(text))
  const [guest, wall] = [second - first, (end - start) / 1000]
  t.comment(`${guest.toFixed(2)} s in the guest, ${wall.toFixed(2)} s outside`)
  t.ok(guest >= 4, 'it slept as long as it wanted to')
  // A busy machine may be slow in showing the first line, but a clock that runs wild is seconds off.
  t.ok(Math.abs(guest - wall) < 1.5, 'both clocks agree')
}

for (const machine of QEMU_MACHINE_NAMES) {
  t.test(`${machine}: a guest that runs is saved by QEMU and read by us`, async (t) => {
    const boot = { ...(BOOTS[0] as Boot), config: { type: 'pvh', purpose: 'vmm', vcpus: 4 } } as const
    const domain = await linuxGuest(t, boot, 'init-clock')
    const gdb = domain && (await requirePeer(t, () => findCommands(['gdb', 'gdb'], ['as', 'binutils'])))
    if (domain === undefined || gdb === undefined) return
    await withStream(domain, machine, (file, args, directory) =>
      withMachine(args, async (qemu) => {
        await checkClock(t, qemu)
        await qemu.ask('stop')
        const saved = `${file}.saved`
        await qemu.save(saved)
        const { domain: read, format, close } = await openSnapshotFile(saved)
        t.equal(format, 'qemu-stream')
        t.same([read.type, read.abi, read.vcpus.length], ['hvm', 'x86_64', 4])
        for (const vcpu of read.vcpus.filter(({ online }) => online)) {
          checkRegisters(t, await qemu.monitor('info registers', vcpu.id), { ...read, vcpus: [vcpu] })
        }
        t.equal(read.vcpus.filter(({ online }) => online).length, 4, 'all four run')
        await checkTranslation(t, qemu, read)
        await checkMemory(t, qemu, read, directory)
        const [banner = ''] = guestSaid(qemu.console(), 'BANNER')
        checkCore(t, read, BigInt(`0x${banner.split(' ')[0]}`), directory)
        close()
        showConsole(t, qemu.console())
      }),
    )
  })
}

/** Compares 1,000 addresses of the kernel with the monitor's gva2gpa. */
async function checkTranslation(t: Test, { monitor }: Machine, read: Domain): Promise<void> {
  const starts = [0xffffffff81000000n, 0xffff888000000000n, 0xffffffff82000000n, 0xffffc90000000000n]
  let mapped = 0
  const wrong: string[] = []
  for (let i = 0; i < 1000; i++) {
    const vaddr = (starts[i % starts.length] as bigint) + BigInt(Math.floor(i / starts.length)) * 0x11377n
    const theirs = /gpa: (?:0x)?([0-9a-f]+)/.exec(await monitor(`gva2gpa 0x${vaddr.toString(16)}`))?.[1]
    const ours = translate(read, vaddr)?.paddr
    if (theirs !== undefined) mapped++
    if ((theirs === undefined ? undefined : Number.parseInt(theirs, 16)) !== ours)
      wrong.push(`${vaddr.toString(16)}: ${theirs} ${ours}`)
  }
  t.same(wrong, [], 'every address has the same place')
  t.ok(mapped > 400, `${mapped} of them are mapped`)
}

/** Compares all memory with what the monitor writes. */
async function checkMemory(t: Test, { monitor }: Machine, read: Domain, directory: string): Promise<void> {
  const file = join(directory, 'memory')
  // From 1 MiB on: below are ROMs, as the processor sees them.
  const [start, size] = [MiB, 511 * MiB]
  await monitor(`pmemsave ${start} ${size} "${file}"`)
  t.ok(equal(read.memory.read(start, size), readFileSync(file)), 'all memory is the same')
}

function checkCore(t: Test, read: Domain, banner: bigint, directory: string): void {
  const core = join(directory, 'guest.core')
  writeFileSync(core, bytesOf(writeElfCore(read)))
  // A stripped kernel has no symbols, so the assembler makes the one that the guest's kallsyms told.
  const symbols = join(directory, 'symbols.o')
  const source = `.globl linux_banner\n.set linux_banner, 0x${banner.toString(16)}\n`
  const as = spawnSync('as', ['-o', symbols], { input: source, encoding: 'latin1' })
  t.equal(as.status, 0, as.stderr)
  const gdb = spawnSync(
    'gdb',
    [
      ...['-batch', '-nx', '-core', core],
      ...['-ex', `symbol-file ${symbols}`, '-ex', 'x/s &linux_banner', '-ex', 'info registers rip'],
    ],
    { encoding: 'latin1' },
  )
  t.match(gdb.stdout, /"Linux version \d/, 'gdb reads linux_banner in a core, by its symbol')
  t.match(Buffer.from(readVirtual(read, banner, 14)).toString(), /^Linux version /)
  t.match(gdb.stdout, new RegExp(`rip +0x${read.vcpus[0]?.registers.rip.toString(16)}\\b`))
}
