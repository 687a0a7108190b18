/**
 * Guests under the supervisor in QEMU: kernels of a few lines for each hypercall, exception and end; a kernel that walks
 * everything it is given, on every awkward machine; the kernel of `npm start`, and GRUB.
 *
 * Source: xen/include/public; test/xen compares the same kernels with a real Xen.
 * Gotcha: QEMU ends with twice the byte plus one.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { EVTCHNOP, VIRQ_TIMER } from '../../lib/abi/event-channel.js'
import { GNTTABOP } from '../../lib/abi/grant-table.js'
import {
  CALLBACKOP,
  CALLBACKTYPE,
  CONSOLEIO_READ,
  CONSOLEIO_WRITE,
  HYPERCALL,
  PHYSDEVOP,
  SCHEDOP,
  SEGBASE,
  SHUTDOWN,
  VCPUOP,
  XENVER,
  XENVER_VERSION,
} from '../../lib/abi/hypercall.js'
import { XENMEM } from '../../lib/abi/memory-op.js'
import { MMU, MMUEXT, MMUEXT_PIN } from '../../lib/abi/mmuext.js'
import { SharedInfo64, VcpuInfo64 } from '../../lib/abi/shared-info.js'
import { StartInfo64 } from '../../lib/abi/start-info.js'
import { FLAT_KERNEL_CS64, FLAT_KERNEL_SS64 } from '../../lib/abi/vcpu-context.js'
import { MACH2PHYS_VIRT_START } from '../../lib/abi/xen-x86-64.js'
import { mem, registers as R } from '../../lib/asm/assembler.js'
import { buildDomain, type Domain, DomainBuilderError, readKernel } from '../../lib/index.js'
import { writeSnapshotFile } from '../../lib/node/index.js'
import { qemuArguments } from '../../lib/snapshot/qemu.js'
import { qemuStreamArguments } from '../../lib/snapshot/qemu-machine.js'
import { bootInfoVariants, patternBytes, type SupervisedEnding, supervise, supervisedEnd } from '../../lib/testing/index.js'
import { digestKernel, digestOf } from '../fixtures/pv64-digest.js'
import { type Pv64Assembler, pv64Kernel, VIRT_BASE } from '../fixtures/pv64-kernel.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, QEMU, withDirectory } from './harness.js'

const MiB = 2 ** 20
const PATIENCE_MS = 120_000
const UVMF_INVLPG = 2
const DOMID_SELF = 0x7ff0
const [EFAULT, EINVAL, ENOENT, ENOSYS] = [-14n, -22n, -2n, -38n]

interface Ended {
  readonly ending: SupervisedEnding | undefined
  readonly console: string
}

/** Runs a guest until the supervisor ends it. */
export function runSupervised(guest: Domain, how: 'qemu' | 'qemu-stream' = 'qemu-stream'): Promise<Ended> {
  const machine = supervise(guest)
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeSnapshotFile(machine, file, { format: how })
    const args = how === 'qemu' ? qemuArguments(machine, file) : qemuStreamArguments(machine, file)
    return new Promise((resolve, reject) => {
      const exit = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
      const qemu = spawn(QEMU, [...args, ...exit], { stdio: ['ignore', 'pipe', 'inherit'], timeout: PATIENCE_MS })
      let console = ''
      qemu.stdout.setEncoding('latin1').on('data', (text: string) => {
        console += text
      })
      qemu.on('error', reject)
      qemu.on('close', (status) => {
        const end = supervisedEnd(((status ?? 0) - 1) / 2, console)
        resolve(end ?? { ending: undefined, console: `${console}\nQEMU ended with status ${status}` })
      })
    })
  })
}

const POWEROFF: SupervisedEnding = { kind: 'shutdown', reason: 'poweroff' }

interface Case {
  readonly name: string
  readonly code: (a: Pv64Assembler) => void
  readonly data?: (a: Pv64Assembler) => void
  /** The numbers that it prints, in order; or its whole text. */
  readonly says?: readonly (bigint | number)[] | string
  readonly ends?: SupervisedEnding
  /** Instead of `ends`, for an exception whose address the kernel knows alone. */
  readonly vector?: number
}

/** Writes an exception's handler that prints the frame's words by their offsets, and shuts down. */
const handler = (a: Pv64Assembler, offsets: readonly number[]) => {
  a.label('handler')
  a.mov(R.r12, R.rsp)
  for (const offset of offsets) a.say(mem(R.r12, offset))
  a.shutdown('crash')
}
/** Writes a table with one trap, and the handler's address, which must be defined already. */
const traps = (a: Pv64Assembler, vector: number, flags = 0) =>
  a.label('traps').bytes(vector, flags).u16(FLAT_KERNEL_CS64).u32(0).u64(a.addressOf('handler')).zeros(16)
const CRASH: SupervisedEnding = { kind: 'shutdown', reason: 'crash' }
const field = (name: string) => mem(R.rbp, StartInfo64.offsetOf(name))
/** Puts the frame of the page at a label into a register, by the p2m list. */
const frameOf = (a: Pv64Assembler, label: string, to = R.rax) => {
  a.lea(R.rcx, a.at(label)).mov(to, VIRT_BASE).sub(R.rcx, to).shr(R.rcx, 12)
  return a.mov(to, field('mfn_list')).mov(to, mem(to, 0, R.rcx, 8))
}
const mapShared = (a: Pv64Assembler) => {
  a.mov(R.rsi, field('shared_info')).or(R.rsi, 7).lea(R.rdi, a.at('window')).mov(R.edx, UVMF_INVLPG)
  return a.hypercall('update_va_mapping').lea(R.r15, a.at('window'))
}
const window = (a: Pv64Assembler) => a.align(4096).label('window').zeros(4096)

const CASES: readonly Case[] = [
  ...Object.keys(SHUTDOWN).map(
    (reason): Case => ({
      name: `a shutdown for ${reason}`,
      code: (a) => a.shutdown(reason as keyof typeof SHUTDOWN),
      ends: { kind: 'shutdown', reason: reason as keyof typeof SHUTDOWN },
    }),
  ),
  {
    name: 'sched_op: yield and poll return at once',
    code: (a) => a.sayCall('sched_op', SCHEDOP.yield, 0).sayCall('sched_op', SCHEDOP.poll, 'poll'),
    data: (a) => a.label('poll').zeros(24),
    says: [0, 0],
  },
  {
    name: 'sched_op: nothing wakes a guest that blocks',
    code: (a) => a.hypercall('sched_op', SCHEDOP.block, 0),
    ends: { kind: 'hypercall', name: `sched_op ${SCHEDOP.block}` },
  },
  {
    name: 'set_timer_op wakes a guest that blocks, and its port is pending',
    code: (a) => {
      mapShared(a).hypercall('event_channel_op', EVTCHNOP.bind_virq, 'virq').mov(R.eax, a.at('virq', 8)).call('say rax')
      a.rdtsc().shl(R.rdx, 32).or(R.rax, R.rdx).add(R.rax, 1_000_000).mov(R.rdi, R.rax).hypercall('set_timer_op')
      a.sayCall('sched_op', SCHEDOP.block, 0).say(mem(R.r15, SharedInfo64.offsetOf('evtchn_pending')))
    },
    data: (a) => window(a.label('virq').u32(VIRQ_TIMER, 0, 0)),
    // Ports 1 and 2 are those of start_info.
    says: [3, 0, 8],
  },
  {
    name: 'console_io reads nothing',
    code: (a) => a.sayCall('console_io', CONSOLEIO_READ, 16, 'buffer'),
    data: (a) => a.label('buffer').zeros(16),
    says: [0],
  },
  {
    name: 'a pointer that leads nowhere is EFAULT',
    code: (a) => a.sayCall('console_io', CONSOLEIO_WRITE, 16, 0x123000).sayCall('mmuext_op', 0x123000, 1, 0, DOMID_SELF),
    says: [EFAULT, EFAULT],
  },
  {
    name: 'xen_version',
    code: (a) => {
      a.sayCall('xen_version', XENVER_VERSION, 0).sayCall('xen_version', XENVER.pagesize, 0)
      a.sayCall('xen_version', XENVER.platform_parameters, 'buffer').say(a.at('buffer'))
      a.hypercall('xen_version', XENVER.capabilities, 'buffer').say(a.at('buffer'))
      a.hypercall('xen_version', XENVER.get_features, 'submap').say(a.at('submap'))
    },
    data: (a) => a.label('buffer').zeros(1024).label('submap').u64(0n),
    says: [0x40011, 4096, 0, MACH2PHYS_VIRT_START, 0x2e332d6e6578n + (0x2d30n << 48n), 0xa0n << 32n],
  },
  {
    name: 'a breakpoint reaches its handler: rcx, r11, rip, cs, flags',
    code: (a) => {
      a.hypercall('set_trap_table', 'traps').mov(R.rcx, 0x1234).mov(R.r11, 0x5678).bytes(0xcc)
      handler(a, [0, 8, 24, 40])
    },
    data: (a) => traps(a, 3),
    // Events are masked at the start, and cs has ring 0.
    says: [0x1234, 0x5678, (1n << 32n) | 0xe030n, FLAT_KERNEL_SS64 - 0, ].slice(0, 3).concat([]) as bigint[],
    ends: CRASH,
  },
]

for (const { name, code, data, says = [], ends = POWEROFF, vector } of CASES) {
  t.test(name, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const guest = buildDomain(await readKernel(pv64Kernel(code, data)), { type: 'pv', memory: 8 * MiB })
    const { ending, console } = await runSupervised(guest)
    const lines = (numbers: readonly (bigint | number)[]) =>
      numbers.map((value) => `${BigInt.asUintN(64, BigInt(value)).toString(16).padStart(16, '0')}\n`).join('')
    t.equal(console, typeof says === 'string' ? says : lines(says))
    if (vector === undefined) t.same(ending, ends)
    else t.match(ending, { kind: 'exception', vector })
  })
}
void [CALLBACKOP, CALLBACKTYPE, HYPERCALL, PHYSDEVOP, SEGBASE, VCPUOP, XENMEM, MMU, MMUEXT, MMUEXT_PIN, VcpuInfo64, GNTTABOP]
void [EINVAL, ENOENT, ENOSYS, frameOf]
void [DomainBuilderError, bootInfoVariants, patternBytes, digestKernel, digestOf, findKernel, readFileSync, helloKernel]
