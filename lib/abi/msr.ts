/**
 * Model-specific registers of a guest's processor as Xen's tools exchange them.
 *
 * Source: xen/include/public/arch-x86/xen.h (xen_msr_entry_t); Intel SDM vol. 4.
 * Gotcha: `flags` is reserved and must be 0.
 */
import { struct, u32, u64 } from './struct.js'

export const XenMsrEntry = struct('xen_msr_entry_t', 16, { idx: u32, flags: u32, val: u64 })

/** Bit 31 says that CPUID can be made to fault. */
export const MSR_PLATFORM_INFO = 0xce
