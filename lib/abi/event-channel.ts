/**
 * event_channel_op: commands and their arguments.
 *
 * Source: xen/include/public/event_channel.h; test/peer/domctl.test.ts.
 * Gotcha: a toolstack allocates a channel in another domain; a guest only in its own.
 */
import { struct, u16, u32 } from './struct.js'

/** event_channel_op's first argument; the second points to the command's struct. For `send` that is the port, one u32. */
export const EVTCHNOP = {
  bind_virq: 1,
  close: 3,
  send: 4,
  status: 5,
  alloc_unbound: 6,
  bind_ipi: 7,
  bind_vcpu: 8,
  unmask: 9,
  init_control: 11,
} as const
/** The state of a channel, as `status` tells it. */
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, virq: 4, ipi: 5 } as const
/** VIRQ_TIMER: the time of set_timer_op has come. */
export const VIRQ_TIMER = 0

/** Xen sets `port`, the new channel of `dom`, which `remote_dom` may bind. */
export const EvtchnAllocUnbound = struct('evtchn_alloc_unbound', 8, { dom: u16, remote_dom: u16, port: u32 })
export const EvtchnBindVirq = struct('evtchn_bind_virq', 12, { virq: u32, vcpu: u32, port: u32 })
export const EvtchnBindIpi = struct('evtchn_bind_ipi', 8, { vcpu: u32, port: u32 })
