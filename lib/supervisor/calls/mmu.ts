/**
 * The guest's page tables: mmu_update, update_va_mapping and mmuext_op.
 *
 * Source: xen/include/public/xen.h; Xen's rule that entries of a 64-bit guest have the user bit (xen/arch/x86/mm.c).
 * Gotcha: nothing is checked here except that frames exist. Xen refuses tables that it cannot trust; a guest that is
 * right here may be refused there.
 */
import { XEN_ERRNO } from '../../abi/hypercall.js'
import { MMU, MMUEXT, MMUEXT_PIN, MmuextOp, MmuUpdate } from '../../abi/mmuext.js'
import { levelShift, PT_ENTRIES, PTE_ADDR_MASK, PTE_PRESENT, PTE_PSE, PTE_USER } from '../../abi/x86.js'
import { HYPERVISOR_L4_SLOTS } from '../../abi/xen-x86-64.js'
import { mem, registers } from '../../asm/assembler.js'
import { PAGE_SHIFT, PAGE_SIZE } from '../../units.js'
import type { Emit, SupervisorAssembler } from '../assembler.js'
import { WRITABLE_M2P } from '../layout.js'

const { eax, ecx, edi, esi, rax, rbx, rcx, rdx, rdi, rsi, r8, r12, r13d, r14, r15d } = registers

const TOP = 4
const XEN_SLOTS = HYPERVISOR_L4_SLOTS.end - HYPERVISOR_L4_SLOTS.start

/** mmu_update: rdi requests, esi their number, rdx where the number of those done goes. */
export const mmuUpdate: Emit = (a) => {
  a.mov(r12, rdi).mov(r13d, esi).mov(r14, rdx).mov(r15d, 0)
  a.label('next update').cmp(r15d, r13d).jcc('e', 'updates done')
  a.mov(rdi, mem(r12, MmuUpdate.offsetOf('ptr'))).mov(rax, mem(r12, MmuUpdate.offsetOf('val')))
  a.mov(ecx, edi).and(ecx, 3).and(rdi, -4)
  a.mov(rdx, rdi).shr(rdx, PAGE_SHIFT).cmp(rdx, a.machine.endFrame).jcc('ae', 'update invalid')
  a.cmp(ecx, MMU.MACHPHYS_UPDATE).jcc('e', 'update of m2p')
  a.cmp(ecx, MMU.PT_UPDATE_PRESERVE_AD).jcc('a', 'update invalid')
  a.call('with user bit').toDirect(rdi).mov(mem(rdi), rax).jmp('update done')
  a.label('update of m2p')
    .mov(rcx, WRITABLE_M2P)
    .mov(mem(rcx, 0, rdx, 8), rax)
  a.label('update done').add(r12, MmuUpdate.size).inc(r15d).jmp('next update')
  a.label('update invalid').mov(rbx, BigInt(-XEN_ERRNO.EINVAL)).jmp('updates end')
  a.label('updates done').mov(rbx, 0)
  a.label('updates end').call('flush')
  a.cmp(r14, 0).jcc('e', 'updates told').mov(mem(r14), r15d)
  a.label('updates told').mov(rax, rbx).ret()
}

/** update_va_mapping: rdi address, rsi entry. The whole TLB is flushed, whatever the flags ask for. */
export const updateVaMapping: Emit = (a) => {
  a.mov(r12, rsi).call('entry of address').cmp(rdi, 0).jcc('e', 'va unmapped')
  a.mov(rax, r12).call('with user bit').mov(mem(rdi), rax).call('flush').succeed()
  a.label('va unmapped').fail(XEN_ERRNO.EINVAL)
}

/** mmuext_op: rdi operations, esi their number, rdx where the number of those done goes. */
export const mmuextOp: Emit = (a) => {
  const flushes = ['TLB_FLUSH_LOCAL', 'INVLPG_LOCAL', 'TLB_FLUSH_MULTI', 'INVLPG_MULTI', 'TLB_FLUSH_ALL', 'INVLPG_ALL']
  a.mov(r12, rdi).mov(r13d, esi).mov(r14, rdx).mov(r15d, 0)
  a.label('next mmuext').cmp(r15d, r13d).jcc('e', 'mmuext done')
  a.mov(edi, mem(r12, MmuextOp.offsetOf('cmd'))).mov(rdx, mem(r12, MmuextOp.offsetOf('mfn')))
  a.commands('mmuext', MMUEXT)
  for (const [level, number] of Object.entries(MMUEXT_PIN)) a.cmp(edi, number).jcc('e', `mmuext pin ${level}`)
  a.lacksCommand('mmuext_op')

  const requireFrame = () => a.cmp(rdx, a.machine.endFrame).jcc('ae', 'mmuext invalid')
  for (const level of Object.keys(MMUEXT_PIN)) {
    a.label(`mmuext pin ${level}`)
    requireFrame()
    a.mov(esi, Number(level)).call('adopt table').jmp('mmuext next')
  }
  for (const name of ['NEW_BASEPTR', 'NEW_USER_BASEPTR'] as const) {
    a.label(`mmuext ${name}`)
    requireFrame()
    a.mov(esi, TOP).call('adopt table')
    if (name === 'NEW_BASEPTR')
      a.mov(rax, mem(r12, MmuextOp.offsetOf('mfn')))
        .shl(rax, PAGE_SHIFT)
        .toControl(3, rax)
    a.jmp('mmuext next')
  }
  for (const name of flushes) a.label(`mmuext ${name}`)
  a.call('flush').jmp('mmuext next')
  for (const name of ['UNPIN_TABLE', 'FLUSH_CACHE']) a.label(`mmuext ${name}`)
  a.jmp('mmuext next')
  a.label('mmuext SET_LDT')
    .mov(rax, mem(r12, MmuextOp.offsetOf('arg2')))
    .cmp(rax, 0)
    .jcc('e', 'mmuext next')
  a.lacksCommand('mmuext_op')
  a.label('mmuext CLEAR_PAGE')
  requireFrame()
  a.mov(rdi, rdx)
    .shl(rdi, PAGE_SHIFT)
    .toDirect(rdi)
    .mov(eax, 0)
    .mov(ecx, PAGE_SIZE / 8)
    .repStosq()
    .jmp('mmuext next')
  a.label('mmuext COPY_PAGE') //                  the source is the second argument
  requireFrame()
  a.mov(rdi, rdx).shl(rdi, PAGE_SHIFT).toDirect(rdi)
  a.mov(rsi, mem(r12, MmuextOp.offsetOf('arg2')))
    .cmp(rsi, a.machine.endFrame)
    .jcc('ae', 'mmuext invalid')
  a.shl(rsi, PAGE_SHIFT)
    .toDirect(rsi)
    .mov(ecx, PAGE_SIZE / 8)
    .repMovsq()

  a.label('mmuext next').add(r12, MmuextOp.size).inc(r15d).jmp('next mmuext')
  a.label('mmuext invalid').mov(rbx, BigInt(-XEN_ERRNO.EINVAL)).jmp('mmuext end')
  a.label('mmuext done').mov(rbx, 0)
  a.label('mmuext end').cmp(r14, 0).jcc('e', 'mmuext told').mov(mem(r14), r15d)
  a.label('mmuext told').mov(rax, rbx).ret()
}

/** Subroutines of tables. */
export function emitTables(a: SupervisorAssembler): void {
  a.label('flush').fromControl(rax, 3).toControl(3, rax).ret()

  a.label('with user bit') //                     rax: an entry, which gets the user bit if it is present; rcx is lost
  a.mov(ecx, eax).and(ecx, PTE_PRESENT).jcc('e', 'is absent').or(rax, PTE_USER)
  a.label('is absent').ret()

  a.label('entry of address') //                  rdi: address; returns rdi: its L1 entry, or 0
  a.fromControl(rax, 3).mov(rdx, PTE_ADDR_MASK).mov(rbx, rdi)
  for (let level = TOP; level >= 1; level--) {
    a.and(rax, rdx).toDirect(rax)
    a.mov(rsi, rbx)
      .shr(rsi, levelShift(level))
      .and(esi, PT_ENTRIES - 1)
    a.lea(rdi, mem(rax, 0, rsi, 8))
    if (level === 1) break
    a.mov(rax, mem(rdi))
      .mov(ecx, eax)
      .and(ecx, PTE_PRESENT | PTE_PSE)
      .cmp(ecx, PTE_PRESENT)
      .jcc('ne', 'no entry')
  }
  a.ret()
  a.label('no entry').mov(rdi, 0).ret()

  // Gives the user bit to a table's entries and to the tables below, and Xen's slots to a top one.
  a.label('adopt table') //                       rdx: frame, esi: level; keeps r12 to r15
  a.shl(rdx, PAGE_SHIFT).mov(rdi, rdx).toDirect(rdi)
  a.mov(r8, 0)
  a.label('next of table')
  a.mov(rax, mem(rdi, 0, r8, 8))
    .call('with user bit')
    .mov(rcx, rax)
    .and(ecx, PTE_PRESENT)
    .jcc('e', 'entry adopted')
  a.mov(mem(rdi, 0, r8, 8), rax)
  a.cmp(esi, 1).jcc('e', 'entry adopted')
  a.mov(ecx, eax).and(ecx, PTE_PSE).jcc('ne', 'entry adopted')
  a.mov(rdx, PTE_ADDR_MASK).and(rdx, rax).shr(rdx, PAGE_SHIFT)
  a.cmp(rdx, a.machine.endFrame).jcc('ae', 'entry adopted')
  a.push(rdi).push(r8).push(rsi).dec(esi).call('adopt table').pop(rsi).pop(r8).pop(rdi)
  a.label('entry adopted').inc(r8)
  a.cmp(esi, TOP).jcc('ne', 'not at Xen').cmp(r8, HYPERVISOR_L4_SLOTS.start).jcc('ne', 'not at Xen')
  a.push(rsi).push(rdi)
  a.lea(rsi, a.at('xen slots'))
    .lea(rdi, mem(rdi, HYPERVISOR_L4_SLOTS.start * 8))
    .mov(ecx, XEN_SLOTS)
    .repMovsq()
  a.pop(rdi).pop(rsi)
  a.mov(r8, HYPERVISOR_L4_SLOTS.end)
  a.label('not at Xen').cmp(r8, PT_ENTRIES).jcc('b', 'next of table').ret()
}
