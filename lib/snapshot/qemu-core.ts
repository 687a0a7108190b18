/**
 * A core that QEMU wrote of a guest (dump-guest-memory, virsh dump --memory-only): each vcpu's state from QEMU's own
 * note. Those notes are kept unchanged, because they have registers that a Vcpu has not.
 *
 * Source: QEMU target/i386/arch_dump.c (the notes), dump/dump.c (the file).
 * Gotcha: the notes have no debug registers and no EFER. The machine in the ELF header says whether vcpu 0 is in 64-bit
 * mode. Of a 32-bit guest the file is ELFCLASS64 all the same if any memory ends at 4 GiB, as a PC's ROM does.
 */
import { NT_QEMU_CPU_STATE, QEMU_CPU_STATE_VERSION, QEMU_NOTE_OWNER, QemuCpuState } from '../abi/core-files.js'
import { EM_X86_64 } from '../abi/elf.js'
import type { Infer } from '../abi/struct.js'
import { DR6_RESET, DR7_RESET } from '../abi/x86.js'
import type { Domain } from '../guest/domain.js'
import { loadedSegment } from '../guest/gdt.js'
import type { GuestMemory } from '../guest/memory.js'
import { GENERAL_REGISTERS, MAX_VCPUS, type Registers, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import { dumpedGuest } from './dumped-guest.js'
import { type CoreNote, type FoundNote, refuseElf } from './elf-file.js'

/** The name of a kept note. */
const KEPT = 'QEMU'

/** Returns QEMU's note of each vcpu. */
export const qemuNotes = (notes: readonly FoundNote[]): FoundNote[] =>
  notes.filter(({ owner, type }) => owner === QEMU_NOTE_OWNER && type === NT_QEMU_CPU_STATE)

/**
 * Returns the guest with these vcpus.
 * @param notes at least one.
 * @throws DomainBuilderError `bad-snapshot` with the offset of an invalid note.
 */
export function qemuGuest(notes: readonly FoundNote[], machine: number, memory: GuestMemory): Domain {
  const beyond = notes[MAX_VCPUS]
  if (beyond) refuseElf('the number of vcpus is too large', `at most ${MAX_VCPUS}`, `${notes.length}`, beyond.offset)
  const guest = dumpedGuest(notes.map(vcpuOf), machine === EM_X86_64, memory)
  return { ...guest, saved: { records: notes.map(({ desc }) => ({ name: KEPT, body: desc })) } }
}

/** Returns the notes that were kept of such a guest. */
export const keptQemuNotes = ({ saved }: Domain): CoreNote[] =>
  (saved?.records ?? [])
    .filter(({ name }) => name === KEPT)
    .map(({ body }) => ({ owner: QEMU_NOTE_OWNER, type: NT_QEMU_CPU_STATE, desc: body }))

function vcpuOf({ desc, offset }: FoundNote, id: number): Vcpu {
  const refuse = (expected: string, found: string): never =>
    refuseElf(`QEMU's note of vcpu ${id} is invalid`, expected, found, offset)
  if (desc.length < QemuCpuState.size) refuse(`at least ${QemuCpuState.size} bytes`, `${desc.length}`)
  const state = QemuCpuState.decode(desc)
  if (state.version !== QEMU_CPU_STATE_VERSION) refuse(`version ${QEMU_CPU_STATE_VERSION}`, `${state.version}`)
  const { rip, rflags, cs, ss, ds, es, fs, gs, tr, gdt } = state
  const [cr0 = 0n, , , cr3 = 0n, cr4 = 0n] = state.cr
  const general = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, state[name]]))
  return {
    id,
    online: true,
    registers: { ...general, rip, rflags } as Registers,
    segments: {
      cs: segmentOf(cs),
      ss: segmentOf(ss),
      ds: segmentOf(ds),
      es: segmentOf(es),
      fs: segmentOf(fs),
      gs: segmentOf(gs),
    },
    tr: segmentOf(tr),
    gdtr: { base: gdt.base, limit: gdt.limit },
    ...{ cr0, cr3, cr4, efer: 0n, dr6: BigInt(DR6_RESET), dr7: BigInt(DR7_RESET) },
  }
}

const segmentOf = ({ selector, base, limit, flags }: Infer<typeof QemuCpuState>['cs']): SegmentState =>
  loadedSegment(selector, base, limit, flags)
