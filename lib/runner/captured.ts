/**
 * The guest in a machine that QEMU saved: its memory and its registers, with the origin of the guest that was started.
 *
 * Source: ../snapshot/qemu-stream-guest.ts, which reads what QEMU saves.
 * Gotcha: a guest that has run may have reused the memory of its boot information. It is kept only while it is whole.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { readBootParams } from '../guest/boot-params.js'
import type { BootInfo, Domain } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'

/** Returns a saved guest as the continuation of the one that was started. */
export function continued(started: Domain, saved: Domain): Domain {
  const { name, kernel, regions } = started
  const { saved: _, ...machine } = saved
  const guest = { ...machine, name, regions, ...defined({ kernel }) }
  const boot = bootAfter(started.boot, saved)
  const same: Domain = { ...guest, type: started.type, abi: started.abi, boot }
  return isWhole(started, same) ? same : guest
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
