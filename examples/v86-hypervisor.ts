/**
 * Runs a 32-bit PAE guest of Xen in v86, an x86 emulator in WebAssembly, in this process. Ten pages of hypervisor do
 * the work of Xen up to the guest's first instruction, and then serve two hypercalls.
 *
 * Source: xen/include/public/arch-x86/xen-x86_32.h; Intel SDM vol. 3, chapters 3 (descriptors), 4 (PAE) and 6 (gates).
 * Gotcha: not everything here is real. Real: the guest's memory in its machine frames, its L2s, L1s, ring, selectors,
 * stack and registers; its tables are read-only to it. The top table is a copy, as in Xen on 32-bit processors: the
 * guest's own has bits that no PAE processor accepts. Missing: events, grants, the table of machine frames, and every
 * hypercall except console_io's write and sched_op's shutdown. The others return -ENOSYS.
 */
import { bootRom, type Domain, PAGE_SIZE, requirePv, type Vcpu, walkPageTables } from 'xen-domain-builder'
import { registers, SystemAssembler } from 'xen-domain-builder/testing'
// Numbers of Xen and of the processor are not exports of the package: a hypervisor elsewhere has its own.
import { CONSOLEIO_WRITE, HYPERCALL, HYPERCALL_VECTOR, SCHEDOP } from '../lib/abi/hypercall.js'
import { FLAT_RING1_CS32, FLAT_RING1_DS32 } from '../lib/abi/vcpu-context.js'
import { CR0_ET, CR0_PE, CR0_PG, CR4_PAE, PTE_ADDR_MASK, PTE_PRESENT, PTE_RW } from '../lib/abi/x86.js'
import { HYPERVISOR_VIRT_START_PAE, PAE_XEN_L3_SLOT } from '../lib/abi/xen-mmu.js'
import { runInV86 } from './v86-machine.js'

/** The reason of a guest that did not shut itself down. */
export const FAULT = 0xff

/** Bytes of machine memory. */
const MACHINE_MEMORY = 64 * 2 ** 20

/** The configuration of this machine for buildDomain: the guest's frames begin at 4 MiB, after shared_info. */
export const V86_MACHINE = { p2m: { offset: 0x400 }, sharedInfoMfn: 0x3ff } as const

/** Machine frames of the hypervisor, from 1 MiB on. The ring-0 stack is at the end of `TSS`. */
const FRAMES = ['L3', 'L2', 'L1', 'BOOT_L3', 'BOOT_L2', 'GDT', 'IDT', 'TSS', 'CODE', 'TRAMPOLINE'] as const
type Frame = (typeof FRAMES)[number]
const machine = (name: Frame): number => 2 ** 20 + FRAMES.indexOf(name) * PAGE_SIZE
/** The last 2 MiB of every address space of the guest; they map the machine's first 2 MiB. */
const XEN_VIRT = 0xffe00000
const virtual = (name: Frame): number => XEN_VIRT + machine(name)

/** Selectors of a GDT as in Xen: its first fourteen pages are the guest's, the others are the hypervisor's. */
const RESERVED_GDT = 0xe000
const XEN_CS = 0xe038
const XEN_DS = 0xe040
const XEN_TSS = 0xe048
const CR0_WP = 1 << 16
const TSS_LIMIT = 0x67
const COM1 = 0x3f8
const COM2 = 0x2f8
const ENOSYS = 38

const { eax, ecx, edx, ebx, esi, edi, ebp } = registers

/** A segment descriptor: base, limit in its units, access byte, flags. */
const descriptor = (base: number, limit: number, access: number, flags: number): bigint =>
  BigInt(limit & 0xffff) |
  (BigInt(base & 0xffffff) << 16n) |
  (BigInt(access) << 40n) |
  (BigInt((limit >>> 16) | (flags << 4)) << 48n) |
  (BigInt(base >>> 24) << 56n)
const flat = (access: number): bigint => descriptor(0, 0xfffff, access, 0xc)
/** An interrupt gate that code of ring `from` and further in may call. */
const gate = (target: bigint, from: number): bigint =>
  (target & 0xffffn) | (BigInt(XEN_CS) << 16n) | (BigInt(0x8e | (from << 5)) << 40n) | ((target >> 16n) << 48n)

const ENTRIES = 512
const table = (entries: Readonly<Record<number, bigint>>): Uint8Array => {
  const page = new BigUint64Array(ENTRIES)
  for (const [index, entry] of Object.entries(entries)) page[Number(index)] = entry
  return new Uint8Array(page.buffer)
}

/** Ring-0 code: entered with paging on, it starts the guest and serves its hypercalls. */
function code({ registers: r, segments: s }: Vcpu): SystemAssembler {
  const a = new SystemAssembler(virtual('CODE'), 32)
  const out = (port: number) => {
    a.mov(edx, port)
    a.outb()
  }
  a.lidt(a.at('idtr'))
  a.mov(eax, machine('L3')) //                from here on, there is nothing below the guest's mappings
  a.toControl(3, eax)
  a.mov(eax, 0xff) //                         no device interrupts: both PICs' masks
  out(0x21)
  out(0xa1)
  for (const name of ['ds', 'es', 'fs', 'gs'] as const) {
    a.mov(eax, s[name].selector)
    a.toSegment(name, eax)
  }
  for (const value of [s.ss.selector, r.rsp, r.rflags, s.cs.selector, r.rip]) {
    a.mov(eax, value)
    a.push(eax)
  }
  a.mov(ecx, r.rcx)
  a.mov(edx, r.rdx)
  a.mov(ebx, r.rbx)
  a.mov(esi, r.rsi)
  a.mov(edi, r.rdi)
  a.mov(ebp, r.rbp)
  a.mov(eax, r.rax)
  a.iret()

  a.label('hypercall') //                     number in eax, arguments in ebx, ecx, edx
  a.cmp(eax, HYPERCALL.console_io)
  a.jcc('e', 'console_io')
  a.cmp(eax, HYPERCALL.sched_op)
  a.jcc('e', 'sched_op')
  a.label('unknown')
  a.mov(eax, 2 ** 32 - ENOSYS)
  a.iret()

  a.label('console_io') //                    ecx: bytes at edx
  a.cmp(ebx, CONSOLEIO_WRITE)
  a.jcc('ne', 'unknown')
  a.push(ecx)
  a.push(edx)
  a.push(esi)
  a.mov(esi, edx)
  a.mov(edx, COM1)
  a.cmp(ecx, 0)
  a.jcc('e', 'written')
  a.label('write').bytes(0xac) //             lodsb
  a.outb()
  a.loop('write')
  a.label('written')
  a.pop(esi)
  a.pop(edx)
  a.pop(ecx)
  a.xor(eax, eax)
  a.iret()

  a.label('sched_op') //                      ecx: the reason, sent to the second serial port
  a.cmp(ebx, SCHEDOP.shutdown)
  a.jcc('ne', 'unknown')
  a.mov(eax, { base: ecx })
  a.jmp('end')
  a.label('exception')
  a.mov(eax, FAULT)
  a.label('end')
  out(COM2)
  a.label('stop').cli()
  a.hlt()
  a.jmp('stop')

  a.align(8)
    .label('idtr')
    .u16(PAGE_SIZE - 1)
    .u32(virtual('IDT'))
  return a
}

/** Returns every page of the hypervisor, at its machine address. */
function pages(guest: Domain, vcpu: Vcpu): { paddr: number; bytes: Uint8Array }[] {
  const entry = (name: Frame, flags = PTE_PRESENT | PTE_RW) => BigInt(machine(name) | flags)
  const tables = [...walkPageTables(guest)]
  const guestTable = (level: number, vaddr: bigint) =>
    tables.find((t) => t.level === level && t.vaddr === vaddr)?.entries ?? new BigUint64Array(ENTRIES)

  // Each entry of the top table keeps its frame and present bit, all that a PAE processor accepts. Slot 3 has our L2
  // instead, with the guest's entries in it; Xen's builder ensures that slot 3 is used.
  const top = guestTable(3, 0n).map((pte) =>
    pte & BigInt(PTE_PRESENT) ? (pte & PTE_ADDR_MASK) | BigInt(PTE_PRESENT) : 0n,
  )
  const shared = { [PAE_XEN_L3_SLOT]: entry('L2', PTE_PRESENT) }
  const l2 = guestTable(2, BigInt(PAE_XEN_L3_SLOT) << 30n).fill(0n, (HYPERVISOR_VIRT_START_PAE >>> 21) % ENTRIES)

  const ring0 = code(vcpu)
  const tss = new Uint8Array(PAGE_SIZE)
  new DataView(tss.buffer).setUint32(4, virtual('TSS') + PAGE_SIZE, true) // esp0
  new DataView(tss.buffer).setUint32(8, XEN_DS, true) // ss0
  const exceptions = Array.from({ length: 32 }, () => gate(ring0.addressOf('exception'), 0))
  const inGdt = (selector: number) => (selector - RESERVED_GDT) >>> 3
  const content: Partial<Record<Frame, Uint8Array>> = {
    L3: table({ ...top.subarray(0, 4), ...shared }),
    L2: table({ ...l2, [ENTRIES - 1]: entry('L1') }),
    L1: table(Object.fromEntries(FRAMES.map((name) => [machine(name) / PAGE_SIZE, entry(name)]))),
    // The code that turns paging on must be mapped to itself.
    BOOT_L3: table({ 0: entry('BOOT_L2', PTE_PRESENT), ...shared }),
    BOOT_L2: table({ 0: entry('L1') }),
    GDT: table({
      [inGdt(FLAT_RING1_CS32)]: flat(0xbb),
      [inGdt(FLAT_RING1_DS32)]: flat(0xb3),
      [inGdt(XEN_CS)]: flat(0x9b),
      [inGdt(XEN_DS)]: flat(0x93),
      [inGdt(XEN_TSS)]: descriptor(virtual('TSS'), TSS_LIMIT, 0x89, 0),
    }),
    IDT: table({ ...exceptions, [HYPERCALL_VECTOR]: gate(ring0.addressOf('hypercall'), 1) }),
    TSS: tss,
    CODE: ring0.assemble(),
  }
  return Object.entries(content).map(([name, bytes]) => ({ paddr: machine(name as Frame), bytes }))
}

/** The processor state that the hypervisor expects: ring 0, paging on. */
function hypervisorVcpu(vcpu: Vcpu): Vcpu {
  const data = { selector: XEN_DS }
  return {
    ...vcpu,
    cr0: BigInt((CR0_PE | CR0_ET | CR0_WP | CR0_PG) >>> 0),
    cr3: BigInt(machine('BOOT_L3')),
    cr4: BigInt(CR4_PAE),
    efer: 0n,
    gdtr: { base: BigInt(virtual('GDT') - RESERVED_GDT), limit: RESERVED_GDT + PAGE_SIZE - 1 },
    tr: { selector: XEN_TSS },
    segments: { cs: { selector: XEN_CS }, ss: data, ds: data, es: data, fs: data, gs: data },
    registers: { ...vcpu.registers, rip: BigInt(virtual('CODE')), rsp: BigInt(virtual('TSS') + PAGE_SIZE), rflags: 2n },
  }
}

/** The result of a guest that has run. */
export interface GuestRun {
  /** Its output on Xen's console. */
  readonly console: string
  /** The reason of its shutdown (SHUTDOWN_*), or FAULT. */
  readonly reason: number
  /** Returns bytes of its memory at the end, by guest-physical address, within one page. */
  read(paddr: number, bytes: number): Uint8Array
}

/**
 * Runs a guest's first vcpu from its first instruction until it shuts down or faults.
 * @param guest a PV guest of 32 bits, built with V86_MACHINE.
 */
export async function runPv32(guest: Domain): Promise<GuestRun> {
  const { sharedInfo, sharedInfoMfn } = requirePv(guest)
  const [vcpu] = guest.vcpus
  if (guest.abi !== 'x86_32p' || !vcpu) throw new Error(`v86 cannot run a guest of ${guest.abi}`)
  const toMachine = (paddr: number): number => {
    const mfn = guest.p2m.mfn(Math.floor(paddr / PAGE_SIZE))
    if (mfn === undefined || mfn <= sharedInfoMfn || mfn >= MACHINE_MEMORY / PAGE_SIZE) {
      throw new Error(`the machine has no memory for the guest at frame ${mfn}`)
    }
    return mfn * PAGE_SIZE + (paddr % PAGE_SIZE)
  }
  function* content() {
    yield* pages(guest, vcpu as Vcpu)
    yield { paddr: sharedInfoMfn * PAGE_SIZE, bytes: sharedInfo }
    // A page at a time, since adjacent pages of the guest need not be adjacent in the machine.
    for (const { paddr, bytes } of guest.memory.chunks()) {
      for (let done = 0; done < bytes.length; ) {
        const end = Math.min(bytes.length, done + PAGE_SIZE - ((paddr + done) % PAGE_SIZE))
        yield { paddr: toMachine(paddr + done), bytes: bytes.subarray(done, end) }
        done = end
      }
    }
  }
  const rom = bootRom(hypervisorVcpu(vcpu), machine('TRAMPOLINE'))
  const { console, code = FAULT, memory } = await runInV86({ bytes: MACHINE_MEMORY, rom, content: content() })
  return { console, reason: code, read: (paddr, bytes) => memory.slice(toMachine(paddr), toMachine(paddr) + bytes) }
}
