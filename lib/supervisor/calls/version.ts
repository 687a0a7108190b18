/**
 * xen_version: the supervisor says that it is Xen 4.17, whose interface it has, and names itself elsewhere.
 *
 * Source: xen/include/public/version.h; xen/common/kernel.c for the features of a PV guest.
 * Gotcha: the features tell what a kernel may rely on, so there are only those that hold here too.
 */
import { XENFEAT } from '../../abi/features.js'
import { XENVER, XENVER_BYTES, XENVER_VERSION } from '../../abi/hypercall.js'
import { HYPERVISOR_VIRT_START } from '../../abi/xen-x86-64.js'
import { mem, registers } from '../../asm/assembler.js'
import { PAGE_SIZE } from '../../units.js'
import type { Emit } from '../assembler.js'

const { eax, ecx, rax, rdi, rdx, rsi } = registers

const VERSION = (4 << 16) | 17
const FEATURES = (1 << XENFEAT.mmu_pt_update_preserve_ad) | (1 << XENFEAT.gnttab_map_avail_bits)
const TEXTS = {
  extraversion: '-xdb',
  compile_info: '',
  capabilities: 'xen-3.0-x86_64 ',
  changeset: '',
  guest_handle: '',
  commandline: '',
} as const satisfies Readonly<Record<keyof typeof XENVER_BYTES, string>>

/** xen_version: every command except build_id. */
export const xenVersion: Emit = (a) => {
  a.commands('xen_version', { version: XENVER_VERSION, ...XENVER }).lacksCommand('xen_version')
  a.label('xen_version version').succeed(VERSION)
  a.label('xen_version pagesize').succeed(PAGE_SIZE)
  a.label('xen_version platform_parameters').mov(rax, HYPERVISOR_VIRT_START).mov(mem(rsi), rax).succeed()
  a.label('xen_version get_features') //          {u32 submap_idx, submap}: only the first word has any
  a.mov(ecx, mem(rsi)).mov(eax, FEATURES).cmp(ecx, 0).jcc('e', 'first submap').mov(eax, 0)
  a.label('first submap').mov(mem(rsi, 4), eax).succeed()

  for (const [name, text] of Object.entries(TEXTS)) {
    const bytes = XENVER_BYTES[name as keyof typeof TEXTS]
    a.label(`xen_version ${name}`)
    a.mov(rdx, rsi)
      .mov(rdi, rsi)
      .mov(eax, 0)
      .mov(ecx, bytes / 8)
      .repStosq()
    a.mov(rdi, rdx)
      .lea(rsi, a.at(`version ${name}`))
      .mov(ecx, text.length)
      .repMovsb()
      .succeed()
  }
  for (const [name, text] of Object.entries(TEXTS)) a.label(`version ${name}`).text(`${text}\0`)
}
