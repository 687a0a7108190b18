/**
 * SupervisorAssembler: the assembler with what all parts of the supervisor use: its frame of saved registers, its
 * variables, and the ends of a hypercall.
 *
 * Source: our own conventions.
 * Gotcha: rbp is the frame of the guest's registers from entry to exit. Everything else is saved there, so code may
 * change it.
 */
import { HYPERCALL } from '../abi/hypercall.js'
import { type Memory, mem, type Register, registers } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import type { Paddr, Vaddr } from '../units.js'
import { DIRECT_VIRT, direct, IMAGE_VIRT } from './layout.js'

const { rax, rbp, rcx, edi, eax } = registers

/** The facts of the guest and its machine that code depends on. */
export interface Machine {
  /** Machine address of shared_info. */
  readonly sharedInfo: Paddr
  /** Machine addresses of the rings, and their event channels. */
  readonly console?: Channel
  readonly xenstore?: Channel
  /** The guest's pages, and the most that it may have. */
  readonly pages: number
  readonly maxPages: number
  readonly vcpus: number
  /** The first frame after the machine's memory. */
  readonly endFrame: number
  /** Machine address of the image. */
  readonly image: Paddr
  /** Xen's slots of every top table. */
  readonly slots: BigUint64Array
  /** The first bytes of the grant table. */
  readonly grants: Uint8Array
}

/** A ring, and the guest's event channel for it. */
export interface Channel {
  readonly ring: Paddr
  readonly port: number
}

/** The saved registers in order of their addresses, as an exception and `syscall` leave them. */
export const FRAME = [
  ...(['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi'] as const),
  ...(['vector', 'error', 'rip', 'cs', 'rflags', 'rsp', 'ss'] as const),
] as const
type Saved = (typeof FRAME)[number]
/** The general registers in the order in which they are pushed. */
const PUSHED = FRAME.slice(0, FRAME.indexOf('vector')).toReversed() as (keyof typeof registers)[]
/** Bytes of the frame above the general registers, up to rip. */
const ABOVE = 16

/** The numbers of hypercalls that the table has room for: those of a hypercall page's first half. */
export const HYPERCALLS = 64

/** The variables, of eight bytes each. */
export const VARIABLES = [
  ...(['user rsp', 'on fault', 'on fault rsp', 'vcpu info'] as const),
  ...(['event callback', 'failsafe callback', 'syscall callback', 'kernel ss', 'kernel sp'] as const),
  ...(['timer deadline', 'timer port'] as const),
  ...(['line of', 'held bytes', 'ring waits'] as const),
  ...(['store left', 'store busy', 'store header', 'rest of store header'] as const),
] as const
export type Variable = (typeof VARIABLES)[number]

/** The assembler of the supervisor's image. */
export class SupervisorAssembler extends SystemAssembler {
  readonly machine: Machine
  #unique = 0

  constructor(machine: Machine) {
    super(IMAGE_VIRT, 64)
    this.machine = machine
  }

  /** A label that no other has. */
  unique(purpose: string): string {
    return `${purpose} ${this.#unique++}`
  }

  /** A register of the guest. */
  saved(name: Saved): Memory {
    return mem(rbp, FRAME.indexOf(name) * 8)
  }

  variable(name: Variable): Memory {
    return this.at(`variable ${name}`)
  }

  pushAll(): this {
    for (const name of PUSHED) this.push(registers[name])
    return this
  }

  /** Restores the guest's registers, and removes vector and error code. */
  popAll(): this {
    for (const name of PUSHED.toReversed()) this.pop(registers[name])
    return this.add(registers.rsp, ABOVE)
  }

  /** Ends a hypercall with a number from 0 on. */
  succeed(value: number | bigint = 0): this {
    return this.mov(rax, value).ret()
  }

  /** Ends a hypercall with an error. */
  fail(errno: number): this {
    return this.mov(rax, BigInt(-errno)).ret()
  }

  /** Ends the run: the command in edi of this hypercall is not supported. */
  lacksCommand(name: keyof typeof HYPERCALL): this {
    return this.mov(eax, HYPERCALL[name]).jmp('lacks command')
  }

  /** Jumps by the command in edi; falls through for any other. */
  commands(prefix: string, commands: Readonly<Record<string, number>>): this {
    for (const [name, number] of Object.entries(commands)) this.cmp(edi, number).jcc('e', `${prefix} ${name}`)
    return this
  }

  /** Puts the address of machine memory into a register. */
  directAddress(to: Register, paddr: Paddr): this {
    return this.mov(to, direct(paddr))
  }

  /** Turns a machine address in a register into its virtual one; rcx is lost. */
  toDirect(register: Register): this {
    return this.mov(rcx, DIRECT_VIRT).add(register, rcx)
  }

  /** Puts a constant into a variable's first bytes; rcx is lost. */
  store(to: Memory, value: number | Vaddr): this {
    return this.mov(rcx, value).mov(to, rcx)
  }
}

/** Writes the code of a hypercall. Its arguments are in rdi, rsi, rdx, r10, r8, r9; it ends with `ret` and rax. */
export type Emit = (a: SupervisorAssembler) => void
