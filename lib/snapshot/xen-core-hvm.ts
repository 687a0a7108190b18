/**
 * A core that xl wrote of an HVM or PVH guest: memory, and each vcpu's state as Xen's getvcpucontext returns it.
 *
 * Source: Xen docs/misc/dump-core-format.txt; arch_get_info_guest() of xen/arch/x86/domctl.c for the fields it fills.
 * Gotcha: the file does not say whether the guest is PVH or HVM. 64-bit mode is detected by its registers.
 */
import type { Domain, HvmBoot } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import type { Vcpu } from '../guest/vcpu.js'
import { dumpedGuest } from './dumped-guest.js'

/** Returns the guest of these contexts, which decodePvContext() has read. */
export function hvmGuest(contexts: readonly Vcpu[], memory: GuestMemory): Domain<HvmBoot> {
  const is64 = contexts.some(({ registers: { rip, rsp } }) => rip >> 32n !== 0n || rsp >> 32n !== 0n)
  return dumpedGuest(
    contexts.map(({ pv: _, ...vcpu }) => vcpu),
    is64,
    memory,
  )
}
