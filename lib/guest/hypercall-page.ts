/**
 * The hypercall page: code that a PV kernel calls, so that it need not know how to enter its hypervisor.
 *
 * Source: xen/include/public/arch-x86/xen-x86_64.h and xen-x86_32.h (one 32-byte slot for each hypercall, %eax its
 * number); the 64-bit bytes equal those that Xen 4.17 wrote into one of its guests.
 * Gotcha: a kernel must jump to the slot of iret, not call it. The slot saves registers, takes the place of the
 * processor's own iret and never returns.
 */
import { HYPERCALL, HYPERCALL_SLOT_BYTES, HYPERCALL_VECTOR } from '../abi/hypercall.js'
import { PAGE_SIZE } from '../units.js'

/** The bytes between slots: int3, so that a stray jump is detected. */
const FILLER = 0xcc

const PUSH_RAX = [0x50]
const PUSH_RCX_R11 = [0x51, 0x41, 0x53]
const POP_R11_RCX = [0x41, 0x5b, 0x59]
/** The instruction. */
export const SYSCALL = Uint8Array.of(0x0f, 0x05)
const INT_HYPERCALL = [0xcd, HYPERCALL_VECTOR]
const RET = [0xc3]
const movEax = (number: number): number[] => [0xb8, number & 0xff, number >> 8, 0, 0]

function slot(abi: 'x86_64' | 'x86_32p', number: number): number[] {
  const jumpedTo = number === HYPERCALL.iret
  if (abi === 'x86_64') {
    return jumpedTo
      ? [...PUSH_RCX_R11, ...PUSH_RAX, ...movEax(number), ...SYSCALL]
      : [...PUSH_RCX_R11, ...movEax(number), ...SYSCALL, ...POP_R11_RCX, ...RET]
  }
  return jumpedTo ? [...PUSH_RAX, ...movEax(number), ...INT_HYPERCALL] : [...movEax(number), ...INT_HYPERCALL, ...RET]
}

/**
 * Returns one page of slots, as the hypervisor fills it for a guest of that ABI.
 * @returns 4096 bytes.
 */
export function hypercallPage(abi: 'x86_64' | 'x86_32p'): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(FILLER)
  for (let number = 0; number < PAGE_SIZE / HYPERCALL_SLOT_BYTES; number++) {
    page.set(slot(abi, number), number * HYPERCALL_SLOT_BYTES)
  }
  return page
}
