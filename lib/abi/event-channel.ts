/**
 * event_channel_op: commands and their arguments.
 *
 * Source: xen/include/public/event_channel.h; test/peer/domctl.test.ts.
 * Gotcha: a toolstack allocates a channel in another domain; a guest only in its own.
 */
import { struct, u16, u32 } from './struct.js'

/** event_channel_op's first argument; the second points to the command's struct. For `send` that is the port, one u32. */
export const EVTCHNOP = { send: 4, alloc_unbound: 6 } as const

/** Xen sets `port`, the new channel of `dom`, which `remote_dom` may bind. */
export const EvtchnAllocUnbound = struct('evtchn_alloc_unbound', 8, { dom: u16, remote_dom: u16, port: u32 })
