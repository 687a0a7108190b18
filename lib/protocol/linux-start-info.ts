/**
 * start_info for a kernel that finds it through boot_params: hardware_subarch says which kernel looks for it, and
 * hardware_subarch_data holds its address.
 *
 * Source: xen/include/public/xen.h, struct start_info; Linux Documentation/arch/x86/boot.rst, "hardware_subarch_data".
 * Gotcha: there is no hypervisor. Frames are the machine's frames, so there is no p2m, and every field that only Xen
 * could fill (shared_info, xenstore, a console) is 0.
 */

import { MAX_GUEST_CMDLINE, START_INFO_MAGIC, StartInfo32, StartInfo64 } from '../abi/start-info.js'
import { utf8Length } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { DomainAbi } from '../guest/domain.js'
import type { LinearTables } from '../guest/linear-tables.js'
import { type Paddr, paddrOf } from '../units.js'

/** Returns the bytes of start_info. @throws DomainBuilderError `does-not-fit` for a command line that is too long. */
export function startInfoBlock(
  abi: DomainAbi,
  pages: number,
  cmdline: string,
  tables: LinearTables | undefined,
  ramdisk: { readonly start: Paddr; readonly bytes: number } | undefined,
): Uint8Array {
  const length = utf8Length(cmdline)
  if (length > MAX_GUEST_CMDLINE - 1) {
    throw new DomainBuilderError('does-not-fit', 'the command line does not fit start_info', {
      expected: `at most ${MAX_GUEST_CMDLINE - 1} bytes`,
      found: `${length}`,
    })
  }
  const numbers = {
    nr_pages: pages,
    pt_base: tables === undefined ? 0 : paddrOf(tables.top),
    nr_pt_frames: tables?.count ?? 0,
    mod_start: ramdisk?.start ?? 0,
    mod_len: ramdisk?.bytes ?? 0,
  }
  if (abi === 'x86_64') {
    const wide = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, BigInt(value)]))
    return StartInfo64.encode({
      ...StartInfo64.zero,
      ...(wide as Record<keyof typeof numbers, bigint>),
      magic: START_INFO_MAGIC.x86_64,
      cmd_line: cmdline,
    })
  }
  return StartInfo32.encode({
    ...StartInfo32.zero,
    ...numbers,
    magic: START_INFO_MAGIC.x86_32p,
    cmd_line: cmdline,
  })
}
