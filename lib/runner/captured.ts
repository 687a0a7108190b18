/**
 * The guest in a machine that QEMU saved: its memory and its registers, with the origin of the guest that was started.
 *
 * Source: ../snapshot/qemu-stream-guest.ts, which reads what QEMU saves.
 * Gotcha: a guest that has run may have reused the memory of its boot information. It is kept only while it is whole.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { readBootParams } from '../guest/boot-params.js'
import type { BootInfo, Domain, PvBoot } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { GuestMemory } from '../guest/memory.js'
import { identityWhere } from '../guest/pfn-view.js'
import { supervisedGuest } from '../supervisor/supervised-guest.js'
import { paddrOf } from '../units.js'

/** Returns a saved guest as the continuation of the one that was started. */
export function continued(started: Domain, saved: Domain): Domain {
  if (started.boot.kind === 'start_info') return supervisedGuest(started as Domain<PvBoot>, saved)
  const { name, kernel, regions, maxmem, type, abi } = started
  const { saved: _, ...machine } = saved
  const memory = ownMemory(started.memory, saved.memory)
  const guest = { ...machine, name, regions, maxmem, memory, p2m: identityWhere(memory), ...defined({ kernel }) }
  const same: Domain = { ...guest, type, abi, boot: bootAfter(started.boot, saved) }
  return isWhole(started, same) ? same : guest
}

/** Returns the guest's memory without the RAM that only the machine has. */
function ownMemory({ ranges }: GuestMemory, machine: GuestMemory): GuestMemory {
  const memory = new GuestMemory(ranges)
  for (const { pfn, pages } of machine.pages()) {
    for (const { start, end } of memory.within(pfn, pages)) {
      const paddr = paddrOf(start)
      memory.generate(paddr, paddrOf(end - start), (offset, out) => machine.readInto(paddr + offset, out))
    }
  }
  return memory
}

/** Returns the boot information without page tables that the guest has left. */
function bootAfter(boot: BootInfo, { vcpus: [vcpu] }: Domain): BootInfo {
  if (boot.kind !== 'boot_params' || boot.pageTables === undefined) return boot
  const { pageTables, ...rest } = boot
  return vcpu?.cr3 === BigInt(pageTables.top) << 12n ? boot : rest
}

/** Returns whether the boot information is still at its place. */
function isWhole(started: Domain, guest: Domain): boolean {
  try {
    if (guest.boot.kind === 'boot_params') {
      return readBootParams(guest).hdr.header === readBootParams(started).hdr.header
    }
    readHvmStartInfo(guest)
    return true
  } catch (error) {
    if (error instanceof DomainBuilderError) return false
    throw error
  }
}
