/**
 * The vcpu at a Linux entry: flat segments from a GDT in the guest's memory, paging off or identity tables on; or real
 * mode, at the setup code's first instruction.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol", "Running the
 * Kernel".
 * Gotcha: outside ring 0 the selectors carry the level in their low bits, and EFLAGS.IOPL lets that level use ports: no
 * hypervisor can grant them.
 */
import { BOOT_CS, BOOT_DS, ENTRY_16_OFFSET } from '../abi/boot-params.js'
import {
  CR0_ET,
  CR0_PE,
  CR0_PG,
  CR4_PAE,
  DESCRIPTOR_DPL_SHIFT,
  DR6_RESET,
  DR7_RESET,
  EFER_LMA,
  EFER_LME,
  EFLAGS_IOPL_SHIFT,
  EFLAGS_RESERVED_1,
  FLAT_CODE32,
  FLAT_CODE64,
  FLAT_DATA,
  FLAT_LIMIT,
  REAL_MODE_CODE,
  REAL_MODE_DATA,
  REAL_MODE_LIMIT,
  REAL_MODE_SHIFT,
} from '../abi/x86.js'
import { encodeGdt } from '../guest/gdt.js'
import { bootedBy, registers, type SegmentRegister, type SegmentState, type Vcpu, waitingVcpu } from '../guest/vcpu.js'
import { logBoot } from '../log.js'
import { hex, type Paddr } from '../units.js'
import type { Ring } from './linux-config.js'
import type { LowMemory } from './linux-low.js'

/** The inputs that decide the state. */
interface EntryState {
  readonly mode: 32 | 64
  readonly ring: Ring
  readonly entry: Paddr
  readonly bootParams: Paddr
  readonly gdt: Paddr
  /** The top page table, where paging is on. */
  readonly cr3?: Paddr
}

function segments(mode: 32 | 64, ring: Ring): Record<SegmentRegister, SegmentState> {
  const flat = (selector: number, attributes: number): SegmentState => ({
    selector: selector | ring,
    descriptor: { base: 0n, limit: FLAT_LIMIT, attributes: attributes | (ring << DESCRIPTOR_DPL_SHIFT) },
  })
  const data = flat(BOOT_DS, FLAT_DATA)
  return {
    cs: flat(BOOT_CS, mode === 64 ? FLAT_CODE64 : FLAT_CODE32),
    ss: data,
    ds: data,
    es: data,
    fs: data,
    gs: data,
  }
}

/** Returns the GDT that the segments come from. */
export function linuxGdt(mode: 32 | 64, ring: Ring): Uint8Array {
  const { cs, ds } = segments(mode, ring)
  return encodeGdt([cs, ds])
}

/** Returns vcpu 0 at the entry, and the others, which wait for the kernel to start them. */
export function linuxVcpus(state: EntryState, count: number): Vcpu[] {
  const { mode, ring, entry, bootParams, gdt, cr3 } = state
  const paging = cr3 !== undefined
  const boot: Vcpu = {
    id: 0,
    online: true,
    registers: registers({
      rip: BigInt(entry),
      rsi: BigInt(bootParams),
      rflags: BigInt(EFLAGS_RESERVED_1 | (ring << EFLAGS_IOPL_SHIFT)),
    }),
    segments: segments(mode, ring),
    gdtr: { base: BigInt(gdt), limit: linuxGdt(mode, ring).length - 1 },
    cr0: BigInt(CR0_PE | CR0_ET) | (paging ? BigInt(CR0_PG) : 0n),
    cr3: BigInt(cr3 ?? 0),
    cr4: paging ? BigInt(CR4_PAE) : 0n,
    efer: mode === 64 ? BigInt(EFER_LME | EFER_LMA) : 0n,
    dr6: BigInt(DR6_RESET),
    dr7: BigInt(DR7_RESET),
  }
  logBoot('vcpu 0: entry %s, boot_params %s, cr0 %s, cr3 %s', hex(entry), hex(bootParams), hex(boot.cr0), hex(boot.cr3))
  return bootedBy(boot, count)
}

/** Returns vcpu 0 before the first instruction of setup code in real mode, as a BIOS leaves it. */
export function realModeVcpus({ bootParams, heapEnd }: LowMemory, count: number): Vcpu[] {
  const segment = (base: Paddr, attributes: number): SegmentState => ({
    selector: base >> REAL_MODE_SHIFT,
    descriptor: { base: BigInt(base), limit: REAL_MODE_LIMIT, attributes },
  })
  const data = segment(bootParams, REAL_MODE_DATA)
  const cs = segment(bootParams + ENTRY_16_OFFSET, REAL_MODE_CODE)
  logBoot('vcpu 0: real mode, setup code at %s', hex(bootParams))
  const boot: Vcpu = {
    ...waitingVcpu(0),
    online: true,
    registers: registers({ rsp: BigInt(heapEnd), rflags: BigInt(EFLAGS_RESERVED_1) }),
    segments: { cs, ss: data, ds: data, es: data, fs: data, gs: data },
    cr0: BigInt(CR0_ET),
    dr6: BigInt(DR6_RESET),
    dr7: BigInt(DR7_RESET),
  }
  return bootedBy(boot, count)
}
