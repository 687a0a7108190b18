/**
 * A core that xl wrote of an HVM or PVH guest: memory, and each vcpu's state as Xen's getvcpucontext returns it.
 *
 * Source: Xen docs/misc/dump-core-format.txt; arch_get_info_guest() of xen/arch/x86/domctl.c for the fields it fills.
 * Gotcha: the file has neither the kind of the guest, nor EFER, nor the devices. So we read it as an HVM guest, to be
 * inspected and never restored; 64-bit mode is detected by its registers.
 */
import { CR0_PG, EFER_LMA, EFER_LME } from '../abi/x86.js'
import { type Domain, type HvmBoot, pageTypes } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import { identityWhere } from '../guest/pfn-view.js'
import type { Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE } from '../units.js'

/** Returns the guest of these contexts, which decodePvContext() has read. */
export function hvmGuest(contexts: readonly Vcpu[], memory: GuestMemory): Domain<HvmBoot> {
  const is64 = contexts.some(({ registers: { rip, rsp } }) => rip >> 32n !== 0n || rsp >> 32n !== 0n)
  const boot: HvmBoot = { kind: 'firmware', hvmParams: [] }
  return {
    type: 'hvm',
    abi: is64 ? 'x86_64' : 'x86_32',
    name: '',
    memory,
    maxmem: memory.pageCount * PAGE_SIZE,
    vcpus: contexts.map((vcpu) => withMode(vcpu, is64)),
    regions: [],
    p2m: identityWhere(memory),
    boot,
    pageType: pageTypes(boot),
  }
}

/** Returns a vcpu without the state that only a PV guest has; with paging on it is in the mode of the others. */
function withMode({ pv: _, ...vcpu }: Vcpu, is64: boolean): Vcpu {
  const isLong = is64 && (vcpu.cr0 & BigInt(CR0_PG)) !== 0n
  return { ...vcpu, efer: isLong ? BigInt(EFER_LME | EFER_LMA) : 0n }
}
