/**
 * A guest of a core that has memory and registers, and neither devices nor EFER: it is read as an HVM guest, to be
 * inspected and never restored.
 *
 * Source: Intel SDM vol. 3, 9.8.5: in 64-bit mode and its compatibility mode, paging is on and EFER.LMA is set.
 * Gotcha: no core has EFER's other bits, such as NXE, so they are 0 here.
 */
import { CR0_PG, EFER_LMA, EFER_LME } from '../abi/x86.js'
import { type Domain, type HvmBoot, pageTypes } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import { identityWhere } from '../guest/pfn-view.js'
import type { Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE } from '../units.js'

/**
 * Returns the guest with this state.
 * @param is64 whether its vcpus with paging on are in 64-bit mode.
 */
export function dumpedGuest(vcpus: readonly Vcpu[], is64: boolean, memory: GuestMemory): Domain<HvmBoot> {
  const boot: HvmBoot = { kind: 'firmware', hvmParams: [] }
  return {
    type: 'hvm',
    abi: is64 ? 'x86_64' : 'x86_32',
    name: '',
    memory,
    maxmem: memory.pageCount * PAGE_SIZE,
    vcpus: vcpus.map((vcpu) => withMode(vcpu, is64)),
    regions: [],
    p2m: identityWhere(memory),
    boot,
    pageType: pageTypes(boot),
  }
}

function withMode(vcpu: Vcpu, is64: boolean): Vcpu {
  const isLong = is64 && (vcpu.cr0 & BigInt(CR0_PG)) !== 0n
  return { ...vcpu, efer: isLong ? BigInt(EFER_LME | EFER_LMA) : 0n }
}
