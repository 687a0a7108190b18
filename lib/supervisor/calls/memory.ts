/**
 * memory_op and grant_table_op: what a guest asks about its memory, and the grant table that it finds.
 *
 * Source: xen/include/public/{memory,grant_table}.h.
 * Gotcha: nobody maps a granted page here. The table is memory that the guest can read and write.
 */
import { GNTST_GENERAL_ERROR, GNTTABOP, GnttabQuerySize, GnttabSetupTable } from '../../abi/grant-table.js'
import { XEN_ERRNO } from '../../abi/hypercall.js'
import { XENMEM } from '../../abi/memory-op.js'
import { MACH2PHYS_MAX_MFN, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START } from '../../abi/xen-x86-64.js'
import { mem, registers } from '../../asm/assembler.js'
import { pfnOf } from '../../units.js'
import type { Emit } from '../assembler.js'
import { IMAGE } from '../layout.js'

const { eax, ecx, rax, rdx, rsi, r8d } = registers

/** Pages of the grant table. */
export const GRANT_FRAMES = 1

/** memory_op: sizes, and the place of the table of machine frames. A PV guest has no memory map. */
export const memoryOp: Emit = (a) => {
  const { maximum_ram_page, current_reservation, maximum_reservation, memory_map, machphys_mapping } = XENMEM
  const commands = { maximum_ram_page, current_reservation, maximum_reservation, memory_map, machphys_mapping }
  a.commands('memory', commands).lacksCommand('memory_op')
  a.label('memory maximum_ram_page').succeed(a.machine.endFrame - 1)
  a.label('memory current_reservation').succeed(a.machine.pages)
  a.label('memory maximum_reservation').succeed(a.machine.maxPages)
  a.label('memory memory_map').fail(XEN_ERRNO.ENOSYS)
  a.label('memory machphys_mapping') //           {v_start, v_end, max_mfn}
  for (const [i, value] of [MACH2PHYS_VIRT_START, MACH2PHYS_VIRT_END, MACH2PHYS_MAX_MFN].entries()) {
    a.mov(rax, value).mov(mem(rsi, 8 * i), rax)
  }
  a.succeed()
}

/** grant_table_op: one table of version 1. */
export const grantTableOp: Emit = (a) => {
  a.commands('grant', GNTTABOP).lacksCommand('grant_table_op')
  a.label('grant setup_table').mov(r8d, 0)
  a.mov(ecx, mem(rsi, GnttabSetupTable.offsetOf('nr_frames')))
    .cmp(ecx, GRANT_FRAMES)
    .jcc('a', 'too many grant frames')
  a.cmp(ecx, 0).jcc('e', 'grant status')
  a.mov(rdx, mem(rsi, GnttabSetupTable.offsetOf('frame_list')))
  a.mov(rax, pfnOf(a.machine.image) + IMAGE.grants)
    .mov(mem(rdx), rax)
    .jmp('grant status')
  a.label('too many grant frames').mov(r8d, BigInt(GNTST_GENERAL_ERROR))
  a.label('grant status')
    .bytes(0x66)
    .mov(mem(rsi, GnttabSetupTable.offsetOf('status')), r8d)
    .succeed()

  a.label('grant query_size').mov(eax, GRANT_FRAMES)
  a.mov(mem(rsi, GnttabQuerySize.offsetOf('nr_frames')), eax)
  a.mov(mem(rsi, GnttabQuerySize.offsetOf('max_nr_frames')), eax)
  a.mov(eax, 0)
    .bytes(0x66)
    .mov(mem(rsi, GnttabQuerySize.offsetOf('status')), eax)
    .succeed()

  a.label('grant set_version').mov(eax, mem(rsi)).cmp(eax, 1).jcc('ne', 'grant version invalid').succeed()
  a.label('grant version invalid').mov(eax, 1).mov(mem(rsi), eax).fail(XEN_ERRNO.ENOSYS)
  a.label('grant get_version').mov(eax, 1).mov(mem(rsi, 4), eax).succeed()
}
