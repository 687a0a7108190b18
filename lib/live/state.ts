/**
 * State of a domain of a live Xen: vcpus, processor, HVM parameters and event channels.
 *
 * Source: xen/include/public/{domctl,sysctl,event_channel}.h and hvm/hvm_op.h; tools/libs/guest/xg_sr_save_x86_pv.c for
 * the state of vcpus in a save file.
 * Gotcha: Xen first tells how much room a state may need, which is often more than it fills.
 */

import { XenCpuidLeaf } from '../abi/cpuid.js'
import {
  AddressSize,
  Domctl,
  CpuPolicy as DomctlCpuPolicy,
  ExtVcpuContextStart,
  GetVcpuInfo,
  HvmContext,
  MSR_ENTRY_BYTES,
  VCPU_MSR_BYTES,
  VcpuContext,
  VcpuExtState,
  VcpuMsrs,
} from '../abi/domctl.js'
import { EVTCHNOP, EvtchnAllocUnbound } from '../abi/event-channel.js'
import { HVMOP, XenHvmParam } from '../abi/hvm-params.js'
import { HYPERCALL } from '../abi/hypercall.js'
import { HOST_POLICY, SysctlCpuPolicy } from '../abi/sysctl.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../abi/vcpu-context.js'
import { DomainBuilderError } from '../errors.js'
import type { Domid } from '../toolstack/answer.js'
import type { CpuPolicy, Hypervisor, VcpuState } from '../toolstack/hypervisor.js'
import { hex, U32_MAX } from '../units.js'
import type { Hypercalls } from './hypercalls.js'
import { Refused } from './refused.js'

type StateMethods = Pick<
  Hypervisor,
  | ('allocUnbound' | 'setHvmParam' | 'hvmParam' | 'setVcpuContext' | 'vcpuContext' | 'isOnline' | 'vcpuState')
  | ('setHvmContext' | 'hvmContext' | 'defaultCpuPolicy' | 'cpuPolicy' | 'setCpuPolicy')
>

const EMPTY: Uint8Array = new Uint8Array(0)

/** Returns what `ask` returns, or undefined if Xen refuses it with that errno. */
function unless<T>(errno: string, ask: () => T): T | undefined {
  try {
    return ask()
  } catch (error) {
    if (error instanceof Refused && error.errno === errno) return undefined
    throw error
  }
}

/** Returns the methods about vcpus, the processor, parameters and event channels. */
export function stateMethods(xen: Hypercalls): StateMethods {
  return {
    allocUnbound(dom, remote_dom) {
      const request = EvtchnAllocUnbound.encode({ dom, remote_dom, port: 0 })
      xen.withBuffer(request, (address) =>
        xen.call('alloc_unbound', dom, HYPERCALL.event_channel_op, [EVTCHNOP.alloc_unbound, address]),
      )
      return EvtchnAllocUnbound.decode(request).port
    },
    setHvmParam(domid, index, value) {
      xen.withBuffer(XenHvmParam.encode({ domid, index, value }), (address) =>
        xen.call(`the set of HVM parameter ${index}`, domid, HYPERCALL.hvm_op, [HVMOP.set_param, address]),
      )
    },
    hvmParam(domid, index) {
      const request = XenHvmParam.encode({ domid, index, value: 0n })
      return unless('EINVAL', () => {
        xen.withBuffer(request, (address) =>
          xen.call(`the get of HVM parameter ${index}`, domid, HYPERCALL.hvm_op, [HVMOP.get_param, address]),
        )
        return XenHvmParam.decode(request).value
      })
    },
    setVcpuContext(domid, vcpu, context) {
      requireLength(context, widthOf(xen, domid))
      // A copy: the buffer that Xen reads is copied back.
      xen.withBuffer(context.slice(), (ctxt) => xen.domctl('setvcpucontext', domid, VcpuContext.encode({ vcpu, ctxt })))
    },
    vcpuContext(domid, vcpu) {
      const context = new Uint8Array(widthOf(xen, domid))
      return unless('ENODATA', () => {
        xen.withBuffer(context, (ctxt) => xen.domctl('getvcpucontext', domid, VcpuContext.encode({ vcpu, ctxt })))
        return context
      })
    },
    isOnline(domid, vcpu) {
      const u = GetVcpuInfo.encode({ ...GetVcpuInfo.zero, vcpu })
      xen.domctl('getvcpuinfo', domid, u)
      return GetVcpuInfo.decode(u).online !== 0
    },
    vcpuState: (domid, vcpu, state) => VCPU_STATES[state](xen, domid, vcpu),
    setHvmContext(domid, context) {
      xen.withBuffer(context.slice(), (buffer) =>
        xen.domctl('sethvmcontext', domid, HvmContext.encode({ size: context.length, buffer })),
      )
    },
    hvmContext(domid) {
      const sizeOf = (size: number, buffer: bigint): number => {
        const u = HvmContext.encode({ size, buffer })
        xen.domctl('gethvmcontext', domid, u)
        return HvmContext.decode(u).size
      }
      const most = new Uint8Array(sizeOf(0, 0n))
      const size = xen.withBuffer(most, (address) => sizeOf(most.length, address))
      return most.slice(0, size)
    },
    defaultCpuPolicy: (type) =>
      readPolicy(xen, (room, leaves, msrs) => {
        const u = SysctlCpuPolicy.encode({ ...room, index: HOST_POLICY[type], leaves, msrs })
        xen.sysctl('get_cpu_policy', u)
        return SysctlCpuPolicy.decode(u)
      }),
    cpuPolicy: (domid) =>
      readPolicy(xen, (room, leaves, msrs) => {
        const u = DomctlCpuPolicy.encode({ ...DomctlCpuPolicy.zero, ...room, leaves, msrs })
        xen.domctl('get_cpu_policy', domid, u)
        return DomctlCpuPolicy.decode(u)
      }),
    setCpuPolicy: (domid, policy) => writePolicy(xen, domid, policy),
  }
}

/** Returns the length of vcpu_guest_context of a domain: only a PV domain has an address size, and others Xen's own. */
function widthOf(xen: Hypercalls, domid: Domid): number {
  const u = AddressSize.encode({ size: 0 })
  unless('EOPNOTSUPP', () => xen.domctl('get_address_size', domid, u))
  return AddressSize.decode(u).size === 32 ? VcpuGuestContext32.size : VcpuGuestContext64.size
}

/** @throws DomainBuilderError `bad-range` */
function requireLength(context: Uint8Array, length: number): void {
  if (context.length === length) return
  throw new DomainBuilderError('bad-range', 'vcpu_guest_context has the wrong length', {
    expected: `${length} bytes`,
    found: `${context.length} bytes`,
  })
}

const VCPU_STATES: Readonly<Record<VcpuState, (xen: Hypercalls, domid: Domid, vcpu: number) => Uint8Array>> = {
  extended(xen, domid, vcpu) {
    const u = new Uint8Array(Domctl.sizeOf('u'))
    u.set(ExtVcpuContextStart.encode({ vcpu, size: 0 }))
    xen.domctl('get_ext_vcpucontext', domid, u)
    return u.slice(0, ExtVcpuContextStart.decode(u).size)
  },
  xsave(xen, domid, vcpu) {
    const ask = (request: { xfeature_mask: bigint; size: bigint; buffer: bigint }) => {
      const u = VcpuExtState.encode({ ...request, vcpu })
      xen.domctl('getvcpuextstate', domid, u)
      return VcpuExtState.decode(u)
    }
    const room = ask({ xfeature_mask: 0n, size: 0n, buffer: 0n })
    if (room.xfeature_mask === 0n) return EMPTY
    const most = new Uint8Array(Number(room.size))
    const { size } = xen.withBuffer(most, (buffer) => ask({ ...room, buffer }))
    return most.slice(0, Number(size))
  },
  msrs(xen, domid, vcpu) {
    const countOf = (msr_count: number, msrs: bigint): number => {
      const u = VcpuMsrs.encode({ vcpu, msr_count, msrs })
      xen.domctl('get_vcpu_msrs', domid, u)
      return VcpuMsrs.decode(u).msr_count
    }
    const most = new Uint8Array(countOf(0, 0n) * VCPU_MSR_BYTES)
    if (most.length === 0) return EMPTY
    const count = xen.withBuffer(most, (address) => countOf(most.length / VCPU_MSR_BYTES, address))
    return most.slice(0, count * VCPU_MSR_BYTES)
  },
}

/** The entries that buffers have room for, or that are in them. */
interface PolicyCounts {
  readonly nr_leaves: number
  readonly nr_msrs: number
}

/** Returns the policy that `ask` lets Xen write to two buffers. */
function readPolicy(
  xen: Hypercalls,
  ask: (room: PolicyCounts, leaves: bigint, msrs: bigint) => PolicyCounts,
): CpuPolicy {
  // The most that any policy has: of a domain's, not every release tells it.
  const u = SysctlCpuPolicy.encode({ ...SysctlCpuPolicy.zero, index: HOST_POLICY.host })
  xen.sysctl('get_cpu_policy', u)
  const room = SysctlCpuPolicy.decode(u)
  const leaves = new Uint8Array(room.nr_leaves * XenCpuidLeaf.size)
  const msrs = new Uint8Array(room.nr_msrs * MSR_ENTRY_BYTES)
  const { nr_leaves, nr_msrs } = xen.withBuffer(leaves, (leavesAt) =>
    xen.withBuffer(msrs, (msrsAt) => ask(room, leavesAt, msrsAt)),
  )
  return { leaves: leaves.slice(0, nr_leaves * XenCpuidLeaf.size), msrs: msrs.slice(0, nr_msrs * MSR_ENTRY_BYTES) }
}

/** @throws DomainBuilderError `hypercall-failed`, with the leaf or MSR that Xen refuses. */
function writePolicy(xen: Hypercalls, domid: Domid, { leaves, msrs }: CpuPolicy): void {
  const counts = { nr_leaves: leaves.length / XenCpuidLeaf.size, nr_msrs: msrs.length / MSR_ENTRY_BYTES }
  const nowhere = { err_leaf: U32_MAX, err_subleaf: U32_MAX, err_msr: U32_MAX }
  let u = EMPTY
  try {
    xen.withBuffer(leaves.slice(), (leavesAt) =>
      xen.withBuffer(msrs.slice(), (msrsAt) => {
        u = DomctlCpuPolicy.encode({ ...counts, ...nowhere, leaves: leavesAt, msrs: msrsAt })
        xen.domctl('set_cpu_policy', domid, u)
      }),
    )
  } catch (error) {
    if (!(error instanceof Refused) || u.length === 0) throw error
    const { err_leaf, err_subleaf, err_msr } = DomctlCpuPolicy.decode(u)
    const places = [
      ...(err_leaf === U32_MAX ? [] : [`leaf ${hex(err_leaf)}`]),
      ...(err_subleaf === U32_MAX ? [] : [`subleaf ${hex(err_subleaf)}`]),
      ...(err_msr === U32_MAX ? [] : [`MSR ${hex(err_msr)}`]),
    ]
    if (places.length === 0) throw error
    throw new DomainBuilderError(error.code, `${error.message}: ${places.join(', ')}`, { cause: error })
  }
}
