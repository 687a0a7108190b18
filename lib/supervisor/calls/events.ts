/**
 * event_channel_op: the guest's channels, and the two daemons at the other end: one prints the console's ring, the
 * other answers the requests to xenstore.
 *
 * Source: xen/include/public/event_channel.h, io/console.h, io/xs_wire.h.
 * Gotcha: xenstore is empty here, so each request gets the error ENOENT. The daemons act at once, within the hypercall
 * that notifies them.
 */
import {
  EVTCHNOP,
  EVTCHNSTAT,
  EvtchnAllocUnbound,
  EvtchnBindIpi,
  EvtchnBindVirq,
  VIRQ_TIMER,
} from '../../abi/event-channel.js'
import { XEN_ERRNO } from '../../abi/hypercall.js'
import { SharedInfo64, VcpuInfo64 } from '../../abi/shared-info.js'
import { XENSTORE_PAYLOAD_MAX, XENSTORE_RING_BYTES, XenstoreInterface, XS, XsdSockmsg } from '../../abi/xs-wire.js'
import { mem, registers } from '../../asm/assembler.js'
import type { Emit, SupervisorAssembler } from '../assembler.js'

const { al, eax, ecx, edx, edi, rax, rbx, rcx, rdx, rdi, rsi, r8d, r9d, r12d } = registers

/** The most channels of a guest here. */
export const PORTS = 256
const ENOENT = 'ENOENT\0'

/** event_channel_op: channels of the guest with itself, with a timer, and with the two daemons. */
export const eventChannelOp: Emit = (a) => {
  const { EINVAL, ENOSPC, ENOSYS } = XEN_ERRNO
  a.commands('evtchn', EVTCHNOP).lacksCommand('event_channel_op')
  // A new channel: its state in r12d; port in edx.
  const allocate = (state: number, portAt: number) => {
    a.mov(r12d, state).call('new port').cmp(edx, 0).jcc('e', 'evtchn full').mov(mem(rsi, portAt), edx)
  }
  a.label('evtchn bind_virq')
  allocate(EVTCHNSTAT.virq, EvtchnBindVirq.offsetOf('port'))
  a.mov(ecx, mem(rsi, EvtchnBindVirq.offsetOf('virq')))
    .cmp(ecx, VIRQ_TIMER)
    .jcc('ne', 'evtchn done')
  a.mov(a.variable('timer port'), rdx).jmp('evtchn done')
  a.label('evtchn bind_ipi')
  allocate(EVTCHNSTAT.ipi, EvtchnBindIpi.offsetOf('port'))
  a.jmp('evtchn done')
  a.label('evtchn alloc_unbound')
  allocate(EVTCHNSTAT.unbound, EvtchnAllocUnbound.offsetOf('port'))
  a.label('evtchn done').succeed()
  a.label('evtchn full').fail(ENOSPC)
  a.label('evtchn init_control').fail(ENOSYS) //  a kernel goes on with the channels of two levels

  a.label('evtchn bind_vcpu').mov(edi, mem(rsi)).call('port state').jmp('evtchn done if open')
  a.label('evtchn close').mov(edi, mem(rsi)).call('port state').cmp(eax, EVTCHNSTAT.closed).jcc('e', 'evtchn invalid')
  a.mov(eax, EVTCHNSTAT.closed).mov(mem(rbx), al).jmp('evtchn done')
  a.label('evtchn done if open').cmp(eax, EVTCHNSTAT.closed).jcc('ne', 'evtchn done')
  a.label('evtchn invalid').fail(EINVAL)

  a.label('evtchn status') //                     {u16 dom, u32 port, u32 status, u32 vcpu}
  a.mov(edi, mem(rsi, 4)).call('port state').mov(mem(rsi, 8), eax)
  a.mov(eax, 0).mov(mem(rsi, 12), eax).jmp('evtchn done')

  a.label('evtchn unmask').mov(edi, mem(rsi)).cmp(edi, PORTS).jcc('ae', 'evtchn invalid')
  a.directAddress(rdx, a.machine.sharedInfo)
  a.btr(mem(rdx, SharedInfo64.offsetOf('evtchn_mask')), edi)
  a.bt(mem(rdx, SharedInfo64.offsetOf('evtchn_pending')), edi).jcc('ae', 'evtchn done')
  a.call('raise upcall').jmp('evtchn done')

  a.label('evtchn send').mov(edi, mem(rsi))
  const { console, xenstore } = a.machine
  if (console) a.cmp(edi, console.port).jcc('e', 'console daemon')
  if (xenstore) a.cmp(edi, xenstore.port).jcc('e', 'xenstore daemon')
  a.call('port state').cmp(eax, EVTCHNSTAT.closed).jcc('e', 'evtchn invalid')
  a.cmp(eax, EVTCHNSTAT.ipi).jcc('ne', 'evtchn done').call('set pending').jmp('evtchn done')

  a.label('console daemon').call('drain').jmp('evtchn done')
  if (xenstore) xenstoreDaemon(a, xenstore)
}

/** Subroutines of channels. */
export function emitEvents(a: SupervisorAssembler): void {
  a.label('new port') //                          r12d: state; returns edx: port, or 0
  a.lea(rbx, a.at('ports')).mov(edx, 1)
  a.label('next port')
  a.movzx8(eax, mem(rbx, 0, rdx))
    .cmp(eax, EVTCHNSTAT.closed)
    .jcc('e', 'port found')
  a.inc(edx).cmp(edx, PORTS).jcc('b', 'next port')
  a.mov(edx, 0).ret()
  a.label('port found')
    .mov(eax, r12d)
    .mov(mem(rbx, 0, rdx), al)
    .ret()

  a.label('port state') //                        edi: port; returns eax: state, rbx: its address
  a.mov(eax, EVTCHNSTAT.closed).cmp(edi, PORTS).jcc('ae', 'no such port')
  a.lea(rbx, a.at('ports')).add(rbx, rdi).movzx8(eax, mem(rbx))
  a.label('no such port').ret()

  a.label('set pending') //                       edi: port
  a.directAddress(rdx, a.machine.sharedInfo)
  a.bts(mem(rdx, SharedInfo64.offsetOf('evtchn_pending')), edi)
  a.bt(mem(rdx, SharedInfo64.offsetOf('evtchn_mask')), edi).jcc('b', 'is masked')
  a.label('raise upcall').mov(rdx, a.variable('vcpu info')).mov(eax, edi).shr(eax, 6)
  a.bts(mem(rdx, VcpuInfo64.offsetOf('evtchn_pending_sel')), eax)
  a.mov(eax, 1).mov(mem(rdx, VcpuInfo64.offsetOf('evtchn_upcall_pending')), al)
  a.label('is masked').ret()

  // The state of each port: the two of start_info are bound from the start.
  const bound = [a.machine.console?.port, a.machine.xenstore?.port]
  a.label('ports')
  for (let port = 0; port < PORTS; port++) a.bytes(bound.includes(port) ? EVTCHNSTAT.interdomain : EVTCHNSTAT.closed)
}

/** Answers each request with ENOENT. Requests and answers may arrive in pieces, since a ring is short. */
function xenstoreDaemon(a: SupervisorAssembler, { ring, port }: { ring: number; port: number }): void {
  const at = (field: string) => mem(rbx, XenstoreInterface.offsetOf(field))
  const MASK = XENSTORE_RING_BYTES - 1
  a.label('xenstore daemon').directAddress(rbx, ring)
  a.label('next request')
  a.mov(r8d, at('req_cons')).mov(r9d, at('req_prod')).sub(r9d, r8d) // r9d: bytes that wait
  a.mov(rax, a.variable('store busy')).cmp(eax, 0).jcc('ne', 'rest of request')
  a.cmp(r9d, XsdSockmsg.size).jcc('b', 'store is idle')
  a.lea(rdi, a.variable('store header')).mov(ecx, XsdSockmsg.size)
  a.label('next of header').mov(edx, r8d).and(edx, MASK)
  a.mov(al, mem(rbx, XenstoreInterface.offsetOf('req'), rdx)).mov(mem(rdi), al)
  a.inc(r8d).inc(rdi).dec(ecx).jcc('ne', 'next of header')
  a.mov(at('req_cons'), r8d).sub(r9d, XsdSockmsg.size)
  a.lea(rdi, a.variable('store header')).mov(eax, mem(rdi, XsdSockmsg.offsetOf('len')))
  // xenstored ends a connection with a longer body; here it is never answered.
  a.cmp(eax, XENSTORE_PAYLOAD_MAX).jcc('a', 'store is idle')
  a.mov(a.variable('store left'), rax)
  a.mov(eax, 1).mov(a.variable('store busy'), rax)

  a.label('rest of request')
  a.mov(rax, a.variable('store left')).cmp(eax, r9d).jcc('be', 'takes rest').mov(eax, r9d)
  a.label('takes rest').add(r8d, eax).mov(at('req_cons'), r8d)
  a.mov(rcx, a.variable('store left')).sub(ecx, eax).mov(a.variable('store left'), rcx)
  a.cmp(ecx, 0).jcc('ne', 'store is idle')
  a.mov(r8d, at('rsp_prod')).mov(ecx, r8d).sub(ecx, at('rsp_cons'))
  a.cmp(ecx, XENSTORE_RING_BYTES - XsdSockmsg.size - ENOENT.length).jcc('a', 'store is idle')
  a.lea(rsi, a.variable('store header'))
  a.mov(eax, XS.error).mov(mem(rsi, XsdSockmsg.offsetOf('type')), eax)
  a.mov(eax, ENOENT.length).mov(mem(rsi, XsdSockmsg.offsetOf('len')), eax)
  for (const [what, bytes] of [
    ['header', XsdSockmsg.size],
    ['body', ENOENT.length],
  ] as const) {
    if (what === 'body') a.lea(rsi, a.at('ENOENT'))
    a.mov(ecx, bytes).label(`next of answer's ${what}`)
    a.mov(edx, r8d).and(edx, MASK).mov(al, mem(rsi))
    a.mov(mem(rbx, XenstoreInterface.offsetOf('rsp'), rdx), al)
    a.inc(r8d).inc(rsi).dec(ecx).jcc('ne', `next of answer's ${what}`)
  }
  a.mov(at('rsp_prod'), r8d)
  a.xor(eax, eax).mov(a.variable('store busy'), rax).jmp('next request')
  a.label('store is idle').mov(edi, port).call('set pending').jmp('evtchn done')
  a.label('ENOENT').text(ENOENT)
}
