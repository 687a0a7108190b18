/**
 * Guests under the supervisor in QEMU: kernels of a few lines for each hypercall, exception and end; a kernel that walks
 * everything it is given, on every awkward machine; the kernel of `npm start`, and GRUB.
 *
 * Source: xen/include/public; test/xen compares the same kernels with a real Xen.
 * Gotcha: a kernel begins with three bytes that save rsi.
 */
import { readFileSync } from 'node:fs'
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
import { IMAGE_VIRT } from '../../lib/supervisor/layout.js'
import { bootInfoVariants, patternBytes, type SupervisedEnding } from '../../lib/testing/index.js'
import { digestKernel, digestOf } from '../fixtures/pv64-digest.js'
import { type Pv64Assembler, pv64Kernel, VIRT_BASE } from '../fixtures/pv64-kernel.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu } from './harness.js'
import { runSupervised } from './supervised.js'

const MiB = 2 ** 20
const UVMF_INVLPG = 2
const DOMID_SELF = 0x7ff0
const [EFAULT, EINVAL, ENOENT, ENOSYS] = [-14n, -22n, -2n, -38n]

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
    code: (a) =>
      a.sayCall('console_io', CONSOLEIO_WRITE, 16, 0x123000).sayCall('mmuext_op', 0x123000, 1, 0, DOMID_SELF),
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
    name: 'a breakpoint reaches its handler with rcx, r11, cs and ss in its frame',
    code: (a) => {
      a.hypercall('set_trap_table', 'traps').mov(R.rcx, 0x1234).mov(R.r11, 0x5678).bytes(0xcc)
      handler(a, [0, 8, 24, 48])
    },
    data: (a) => traps(a, 3),
    // Events are masked at the start, which is above cs; and cs has ring 0.
    says: [0x1234, 0x5678, (1n << 32n) | BigInt(FLAT_KERNEL_CS64 & ~3), FLAT_KERNEL_SS64],
    ends: CRASH,
  },
  {
    name: 'a page fault reaches its handler with an error code, and its address is in vcpu_info',
    code: (a) => {
      mapShared(a).hypercall('set_trap_table', 'traps').mov(R.rbx, 0x123456).mov(mem(R.rbx), R.rbx)
      a.label('handler')
        .say(mem(R.rsp, 16))
        .say(mem(R.r15, VcpuInfo64.offsetOf('cr2')))
        .shutdown('crash')
    },
    data: (a) => window(traps(a, 14)),
    // Write, user.
    says: [6, 0x123456],
    ends: CRASH,
  },
  {
    name: 'set_trap_table: a null pointer removes the handlers',
    code: (a) => {
      a.hypercall('set_trap_table', 'traps').sayCall('set_trap_table', 0).bytes(0x0f, 0x0b).label('handler')
    },
    data: (a) => traps(a, 6),
    says: [0],
    vector: 6,
  },
  {
    name: 'an exception without a handler ends the run with its address',
    code: (a) => a.bytes(0x0f, 0x0b),
    // After the three bytes of the first instruction.
    ends: { kind: 'exception', vector: 6, rip: VIRT_BASE + 0x100003n },
  },
  {
    name: 'page tables are read-only to the guest',
    code: (a) => a.mov(R.rbx, field('pt_base')).mov(R.rax, mem(R.rbx)).mov(mem(R.rbx), R.rax),
    vector: 14,
  },
  {
    name: 'the table of machine frames is read-only, and the supervisor out of reach',
    code: (a) => {
      a.hypercall('set_trap_table', 'traps').mov(R.r12, 0).mov(R.rbx, MACH2PHYS_VIRT_START).mov(mem(R.rbx), R.rbx)
      a.label('handler').say(mem(R.rsp, 16)).inc(R.r12).cmp(R.r12, 2).jcc('e', 'twice')
      a.mov(R.rbx, IMAGE_VIRT).mov(R.rbx, mem(R.rbx)).label('twice')
    },
    data: (a) => traps(a, 14),
    // Present, write, user; present, user.
    says: [7, 5],
  },
  {
    name: 'a hypercall that is absent ends the run with its name',
    code: (a) => a.hypercall('domctl', 0),
    ends: { kind: 'hypercall', name: 'domctl' },
  },
  {
    name: 'so does a number without a name',
    code: (a) => a.hypercall(60),
    ends: { kind: 'hypercall', name: 'unknown' },
  },
  {
    name: 'so does a number beyond all',
    code: (a) => a.mov(R.rax, -1n).syscall(),
    ends: { kind: 'hypercall', name: 'unknown' },
  },
  {
    name: 'so does a command',
    code: (a) => a.hypercall('mmuext_op', 'op', 1, 0, DOMID_SELF),
    data: (a) => a.label('op').u32(MMUEXT.SET_LDT, 0).u64(VIRT_BASE).u64(3n),
    ends: { kind: 'hypercall', name: `mmuext_op ${MMUEXT.SET_LDT}` },
  },
  {
    name: 'update_va_mapping maps a frame, and refuses an address without a table',
    code: (a) => {
      frameOf(a, 'there')
        .shl(R.rax, 12)
        .or(R.rax, 1)
        .mov(R.rsi, R.rax)
        .lea(R.rdi, a.at('window'))
        .mov(R.edx, UVMF_INVLPG)
      a.hypercall('update_va_mapping').call('say rax').say(a.at('window'))
      a.sayCall('update_va_mapping', 0x123000, 0, 0)
    },
    data: (a) => window(a).label('there').u64(0xabcdn).zeros(4088),
    says: [0, 0xabcd, EINVAL],
  },
  {
    name: 'mmu_update writes an entry with the user bit, and the table of machine frames',
    code: (a) => {
      const L4_SLOT = 300
      a.mov(R.rcx, field('pt_base'))
        .mov(R.rax, VIRT_BASE)
        .sub(R.rcx, R.rax)
        .shr(R.rcx, 12)
        .mov(R.rax, field('mfn_list'))
      a.mov(R.rbx, mem(R.rax, 0, R.rcx, 8))
        .mov(R.r12, R.rbx)
        .shl(R.r12, 12)
      a.lea(R.rdx, mem(R.r12, 8 * L4_SLOT))
        .mov(a.at('updates'), R.rdx)
        .or(R.r12, 1)
        .mov(a.at('updates', 8), R.r12)
      a.shl(R.rbx, 12).or(R.rbx, MMU.MACHPHYS_UPDATE).mov(a.at('updates', 16), R.rbx)
      a.sayCall('mmu_update', 'updates', 2, 'done', DOMID_SELF).say(a.at('done'))
      a.mov(R.rcx, field('pt_base'))
        .mov(R.rax, mem(R.rcx, 8 * L4_SLOT))
        .sub(R.rax, R.r12)
        .call('say rax')
      a.shr(R.rbx, 12)
        .mov(R.rcx, MACH2PHYS_VIRT_START)
        .say(mem(R.rcx, 0, R.rbx, 8))
      a.mov(R.rax, 1n << 51n)
        .mov(a.at('updates'), R.rax)
        .sayCall('mmu_update', 'updates', 1, 0, DOMID_SELF)
    },
    data: (a) => a.label('updates').u64(0n).u64(0n).u64(0n).u64(0x777n).label('done').u64(0n),
    says: [0, 2, 4, 0x777, EINVAL],
  },
  {
    name: 'mmuext_op: a copy of the top table is pinned, and becomes the top table',
    code: (a) => {
      a.mov(R.rcx, field('pt_base'))
        .mov(R.rax, VIRT_BASE)
        .sub(R.rcx, R.rax)
        .shr(R.rcx, 12)
        .mov(R.rax, field('mfn_list'))
      a.mov(R.rbx, mem(R.rax, 0, R.rcx, 8))
        .mov(a.at('ops', 16), R.rbx)
        .mov(a.at('ops', 24 * 4 + 8), R.rbx)
      frameOf(a, 'window', R.rbx)
      for (const op of [0, 1, 2, 3]) a.mov(a.at('ops', 24 * op + 8), R.rbx)
      a.lea(R.rax, a.at('top')).sayCall('mmuext_op', 'ops', 5, 'done', DOMID_SELF).say(a.at('done'))
      // The same address leads through the new table, whose first entries are those of the copy.
      a.mov(R.rcx, field('pt_base'))
        .mov(R.rax, mem(R.rcx, 8 * 272))
        .sub(R.rax, a.at('window', 8 * 272))
        .call('say rax')
      a.mov(R.eax, MMUEXT.CLEAR_PAGE).mov(a.at('ops'), R.eax)
      frameOf(a, 'top').mov(a.at('ops', 8), R.rax).sayCall('mmuext_op', 'ops', 1, 0, DOMID_SELF).say(a.at('top'))
    },
    data: (a) => {
      a.label('ops')
      for (const cmd of [
        MMUEXT.COPY_PAGE,
        MMUEXT_PIN[4],
        MMUEXT.NEW_BASEPTR,
        MMUEXT.INVLPG_LOCAL,
        MMUEXT.UNPIN_TABLE,
      ]) {
        a.u32(cmd, 0).u64(0n).u64(0n)
      }
      window(a.label('done').u64(0n)).label('top').u64(1n).zeros(4088)
    },
    says: [0, 5, 0, 0, 0],
  },
  {
    name: 'event_channel_op: channels open, tell their state, and close',
    code: (a) => {
      a.sayCall('event_channel_op', EVTCHNOP.alloc_unbound, 'unbound').mov(R.eax, a.at('unbound', 4)).call('say rax')
      a.sayCall('event_channel_op', EVTCHNOP.status, 'status').mov(R.eax, a.at('status', 8)).call('say rax')
      a.sayCall('event_channel_op', EVTCHNOP.close, 'port').sayCall('event_channel_op', EVTCHNOP.close, 'port')
      a.sayCall('event_channel_op', EVTCHNOP.send, 'port').sayCall('event_channel_op', EVTCHNOP.init_control, 'status')
    },
    data: (a) => a.label('unbound').zeros(8).label('status').u32(DOMID_SELF, 3, 0, 0, 0, 0).label('port').u32(3),
    says: [0, 3, 0, 1, 0, EINVAL, EINVAL, ENOSYS],
  },
  {
    name: 'an event interrupts the kernel in its callback, which returns by iret',
    code: (a) => {
      mapShared(a).sayCall('set_callbacks', 'callback', 0, 0)
      a.hypercall('event_channel_op', EVTCHNOP.bind_ipi, 'ipi').lea(R.rsi, a.at('ipi', 4))
      a.mov(R.eax, 0).mov(mem(R.r15, VcpuInfo64.offsetOf('evtchn_upcall_mask')), R.al)
      a.mov(R.rbx, 0x99).hypercall('event_channel_op', EVTCHNOP.send).call('say rax').say(R.rbx).jmp('end')
      a.label('callback')
        .push(R.rax)
        .say(mem(R.r15, SharedInfo64.offsetOf('evtchn_pending')))
      a.mov(R.eax, 0)
        .mov(mem(R.r15, VcpuInfo64.offsetOf('evtchn_upcall_pending')), R.al)
        .pop(R.rax)
      a.inc(R.rbx).pop(R.rcx).pop(R.r11).pushImmediate(0).push(R.rcx).push(R.r11).push(R.rax)
      a.mov(R.eax, HYPERCALL.iret).syscall().label('end')
    },
    data: (a) => window(a.label('ipi').u32(0, 0)),
    says: [0, 8, 0, 0x9a],
  },
  {
    name: 'a masked channel is pending after unmask; vcpu_info may lie elsewhere',
    code: (a) => {
      mapShared(a).hypercall('event_channel_op', EVTCHNOP.bind_ipi, 'ipi').mov(R.eax, 8)
      a.mov(mem(R.r15, SharedInfo64.offsetOf('evtchn_mask')), R.rax)
      frameOf(a, 'elsewhere').mov(a.at('info'), R.rax).sayCall('vcpu_op', VCPUOP.register_vcpu_info, 0, 'info')
      a.lea(R.rsi, a.at('ipi', 4))
        .hypercall('event_channel_op', EVTCHNOP.send)
        .say(a.at('elsewhere', 64 + 8))
      a.lea(R.rsi, a.at('ipi', 4))
        .hypercall('event_channel_op', EVTCHNOP.unmask)
        .say(a.at('elsewhere', 64 + 8))
    },
    data: (a) => window(a.label('info').u64(0n).u32(64, 0).label('ipi').u32(0, 0)).label('elsewhere').zeros(4096),
    says: [0, 0, 1],
  },
  {
    name: 'memory_op tells sizes, and where the table of machine frames is',
    code: (a) => {
      a.sayCall('memory_op', XENMEM.current_reservation, 'domid').sayCall(
        'memory_op',
        XENMEM.maximum_reservation,
        'domid',
      )
      a.sayCall('memory_op', XENMEM.memory_map, 'map').sayCall('memory_op', XENMEM.machphys_mapping, 'map')
      a.say(a.at('map')).say(a.at('map', 16))
    },
    data: (a) => a.label('domid').u32(DOMID_SELF, 0).label('map').zeros(24),
    says: [2048, 2048, ENOSYS, 0, MACH2PHYS_VIRT_START, 0x7ffffffffn],
  },
  {
    name: 'grant_table_op: the table has the entries of console and xenstore',
    code: (a) => {
      a.sayCall('grant_table_op', GNTTABOP.set_version, 'version', 1).hypercall(
        'grant_table_op',
        GNTTABOP.query_size,
        'size',
        1,
      )
      a.say(a.at('size')).lea(R.rax, a.at('frame')).mov(a.at('setup', 16), R.rax)
      a.sayCall('grant_table_op', GNTTABOP.setup_table, 'setup', 1)
        .mov(R.rsi, a.at('frame'))
        .shl(R.rsi, 12)
        .or(R.rsi, 7)
      a.lea(R.rdi, a.at('window')).mov(R.edx, UVMF_INVLPG).hypercall('update_va_mapping')
      for (const [i, page] of ['console_mfn', 'store_mfn'].entries()) {
        a.mov(R.rax, field(page))
          .shl(R.rax, 32)
          .sub(R.rax, a.at('window', 8 * i))
          .call('say rax')
      }
      a.mov(R.eax, 3).mov(a.at('version'), R.eax).sayCall('grant_table_op', GNTTABOP.set_version, 'version', 1)
    },
    data: (a) => {
      a.label('version').u32(1, 0).label('size').u32(DOMID_SELF, 0, 0, 0).label('frame').u64(0n)
      window(a.label('setup').u32(DOMID_SELF, 1, 0, 0).u64(0n))
    },
    // Frames of the table: 1, of 1. Each entry is the frame, domain 0 and the flag that permits access.
    says: [0, (1n << 32n) | BigInt(DOMID_SELF), 0, -1, -1, ENOSYS],
  },
  {
    name: 'vcpu_op: vcpu 0 is up, and there is no other',
    code: (a) => a.sayCall('vcpu_op', VCPUOP.is_up, 0, 0).sayCall('vcpu_op', VCPUOP.is_up, 5, 0),
    says: [1, ENOENT],
  },
  {
    name: 'set_segment_base and set_gdt: segments of the guest',
    code: (a) => {
      a.sayCall('set_segment_base', SEGBASE.FS, 'there').bytes(0x64, 0x48, 0x8b, 0x04, 0x25).u32(0).call('say rax')
      frameOf(a, 'window').mov(a.at('frame'), R.rax).sayCall('set_gdt', 'frame', 512).mov(R.eax, 0x13)
      a.toSegment('es', R.eax).mov(R.eax, 0).fromSegment(R.eax, 'es').call('say rax')
      frameOf(a, 'window')
        .shl(R.rax, 12)
        .mov(R.rdi, R.rax)
        .mov(R.rsi, 0x1111n)
        .hypercall('update_descriptor')
        .say(a.at('window'))
      a.sayCall('set_gdt', 'frame', 7169)
    },
    data: (a) =>
      a
        .label('there')
        .u64(0x4242n)
        .label('frame')
        .u64(0n)
        .align(4096)
        .label('window')
        .zeros(16)
        .u64(0xcff3000000ffffn)
        .zeros(4072),
    says: [0, 0x4242, 0, 0x13, 0x1111, EINVAL],
  },
  {
    name: 'multicall does each entry, and keeps its result',
    code: (a) =>
      a
        .sayCall('multicall', 'calls', 2)
        .say(a.at('calls', 8))
        .say(a.at('calls', 64 + 8)),
    data: (a) => {
      a.label('calls').u64(BigInt(HYPERCALL.xen_version)).zeros(56).u64(BigInt(HYPERCALL.xen_version)).zeros(8)
      a.u64(BigInt(XENVER.pagesize)).zeros(40)
    },
    says: [0, 0x40011, 4096],
  },
  {
    name: 'fpu_taskswitch: the next use of the FPU is an exception, once',
    code: (a) => {
      a.hypercall('set_trap_table', 'traps').sayCall('fpu_taskswitch', 1).bytes(0xdb, 0xe3)
      a.label('handler').bytes(0xdb, 0xe3).say(7).shutdown('crash')
    },
    data: (a) => traps(a, 7),
    says: [0, 7],
    ends: CRASH,
  },
  {
    name: 'cpuid by way of Xen',
    code: (a) => {
      a.mov(R.eax, 0).cpuid().mov(R.r12, R.rbx).mov(R.eax, 0).bytes(0x0f, 0x0b).text('xen').cpuid()
      a.mov(R.rax, R.rbx).sub(R.rax, R.r12).call('say rax')
    },
    says: [0],
  },
  {
    name: 'settings that are kept or have no effect',
    code: (a) => {
      a.sayCall('set_debugreg', 3, 0x77).sayCall('get_debugreg', 3).sayCall('get_debugreg', 9)
      a.sayCall('stack_switch', FLAT_KERNEL_SS64, 0).sayCall('vm_assist', 0, 2).sayCall('vm_assist', 0, 99)
      a.sayCall('physdev_op', PHYSDEVOP.set_iopl, 'callback').sayCall('callback_op', CALLBACKOP.register, 'callback')
    },
    data: (a) => a.label('callback').u32(CALLBACKTYPE.event, 0).u64(0n),
    says: [0, 0x77, EINVAL, 0, 0, EINVAL, 0, 0],
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

t.test('a kernel that walks all it is given prints the same digest on every awkward machine', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const kernel = await readKernel(digestKernel())
  const config = { type: 'pv', memory: 16 * MiB, cmdline: 'digest me', ramdisk: patternBytes(5000) } as const
  const guests = [
    { name: 'none', build: () => buildDomain(kernel, config) },
    { name: 'restore', build: () => buildDomain(kernel, { ...config, purpose: 'restore' }) },
    { name: 'above 4 GiB', build: () => buildDomain(kernel, { ...config, p2m: { offset: 0x100000 } }) },
    ...bootInfoVariants(kernel, config),
  ]
  const refused: string[] = []
  for (const { name, build } of guests) {
    if (name === 'memory-1t') continue // its list of frames has 2 GiB
    const guest = build() as Domain
    try {
      const { ending, console } = await runSupervised(guest)
      t.same(ending, POWEROFF, `${name}: it ends`)
      t.equal(console, digestOf(guest), name)
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      refused.push(name)
    }
  }
  t.same(refused, ['memory-to-hole', 'memory-above-4g'], 'guests with frames that no PC has as RAM')
})

for (const how of ['qemu', 'qemu-stream'] as const) {
  t.test(`the kernel of npm start says hello on both consoles (${how})`, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const { ending, console } = await runSupervised(
      buildDomain(await readKernel(helloKernel()), { memory: 32 * MiB, type: 'pv' }),
      how,
    )
    t.equal(console, 'hello from start_info, nr_pages=0x2000\n'.repeat(2))
    t.same(ending, POWEROFF)
  })
}

t.test('GRUB runs its script to the end', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const grub = await requirePeer(t, () => findKernel('grub-x86_64-xen-halts'))
  if (grub === undefined) return
  const guest = buildDomain(await readKernel(readFileSync(grub)), { type: 'pv', memory: 64 * MiB })
  const { ending, console } = await runSupervised(guest)
  t.match(console, /GRUB-HELLO x86_64-xen[\s\S]*GRUB-DONE/)
  t.same(ending, POWEROFF)
})
