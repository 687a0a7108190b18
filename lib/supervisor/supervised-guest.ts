/**
 * supervisedGuest: the PV guest in a machine that ran it under the supervisor.
 *
 * Source: ./assembler.ts has the frame of the guest's registers.
 * Gotcha: in a hypercall the processor's registers are those of the supervisor. The guest's are in the frame to which
 * rbp points.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain, PvBoot } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { readVirtual } from '../guest/translate.js'
import { GENERAL_REGISTERS, type Registers, type SegmentRegister, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE, paddrOf } from '../units.js'
import { FRAME } from './assembler.js'
import { frameRuns } from './frames.js'

/** The bits of a selector with its privilege level. */
const RING = 3

/**
 * Returns a guest as its machine has it after a part of its run: its memory by its own frame numbers, and the registers
 * of its vcpu. The p2m is the one that it started with.
 * @param guest the guest that supervise() got.
 * @param machine the captured machine, such as a stream that QEMU saved.
 */
export function supervisedGuest(guest: Domain<PvBoot>, machine: Domain): Domain<PvBoot> {
  const { boot, vcpus } = guest
  const [started, ...others] = vcpus
  const [vcpu] = machine.vcpus
  return {
    ...guest,
    memory: guestMemory(guest, machine.memory),
    vcpus: started && vcpu ? [{ ...started, ...guestState(machine, vcpu) }, ...others] : vcpus,
    boot: { ...boot, sharedInfo: machine.memory.read(paddrOf(boot.sharedInfoMfn), PAGE_SIZE) },
  }
}

/** Returns the memory of the guest. Pages that the machine never touched stay holes. */
function guestMemory({ memory, p2m }: Domain, machine: GuestMemory): GuestMemory {
  const found = new GuestMemory(memory.ranges)
  const runs = memory.ranges.flatMap(({ start, end }) => [...frameRuns(p2m, start, end)])
  runs.sort((a, b) => a.mfn - b.mfn)
  const touched = [...machine.pages()]
  let first = 0
  for (const { pfn, mfn, pages } of runs) {
    while (first < touched.length && endOf(touched[first]) <= mfn) first++
    for (let i = first; i < touched.length; i++) {
      const start = Math.max(touched[i]?.pfn ?? 0, mfn)
      const end = Math.min(endOf(touched[i]), mfn + pages)
      if (start >= end) break
      const from = paddrOf(start)
      found.generate(paddrOf(pfn + start - mfn), paddrOf(end - start), (offset, out) =>
        machine.readInto(from + offset, out),
      )
    }
  }
  return found
}

const endOf = (run: { readonly pfn: number; readonly pages: number } | undefined): number =>
  run === undefined ? 0 : run.pfn + run.pages

/** Returns the registers of the guest: the processor's, or those that the supervisor has saved. */
function guestState(machine: Domain, { registers, segments, cr3 }: Vcpu): Pick<Vcpu, 'registers' | 'segments' | 'cr3'> {
  const selectors = Object.fromEntries(
    Object.entries(segments).map(([name, { selector }]): [string, SegmentState] => [name, { selector }]),
  ) as Record<SegmentRegister, SegmentState>
  const saved = segments.cs.selector & RING ? undefined : savedFrame(machine, registers.rbp)
  if (saved === undefined) return { registers, segments: selectors, cr3 }
  const general = Object.fromEntries([...GENERAL_REGISTERS, 'rip', 'rflags'].map((name) => [name, saved[name]]))
  const [cs, ss] = [{ selector: Number(saved.cs) }, { selector: Number(saved.ss) }]
  return { registers: general as unknown as Registers, segments: { ...selectors, cs, ss }, cr3 }
}

/** Returns the frame at an address; undefined if there is no frame of a guest. */
function savedFrame(machine: Domain, at: bigint): Readonly<Record<string, bigint>> | undefined {
  try {
    const view = new DataView(readVirtual(machine, at, FRAME.length * 8).buffer)
    const frame = Object.fromEntries(FRAME.map((name, i) => [name, view.getBigUint64(i * 8, true)]))
    return Number(frame.cs) & RING ? frame : undefined
  } catch (error) {
    if (error instanceof DomainBuilderError) return undefined
    throw error
  }
}
