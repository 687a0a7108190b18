/**
 * A guest of a dump that its own kernel made after a crash, as makedumpfile has it: general registers of each vcpu, and
 * the kernel's page tables by its vmcoreinfo.
 *
 * Source: ../abi/linux-memory.ts; elf_prstatus by ../abi/core-files.ts.
 * Gotcha: no control register is in such a dump. Every vcpu gets the tables of the kernel itself, which lack those of
 * the process that it ran.
 */
import { CORE_NOTE_OWNER, NT_PRSTATUS, PR_REG32, PR_REG64, Prstatus32, Prstatus64 } from '../abi/core-files.js'
import { NewUtsname } from '../abi/kdump.js'
import { PAGE_OFFSET_32, START_KERNEL_MAP, VMCOREINFO } from '../abi/linux-memory.js'
import { CR0_ET, CR0_PE, CR0_PG, CR4_LA57, CR4_PAE, DR6_RESET, DR7_RESET } from '../abi/x86.js'
import { DomainBuilderError, refusalOf } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import { translate } from '../guest/translate.js'
import { MAX_VCPUS, type Registers, registers, SEGMENT_REGISTERS, type Vcpu } from '../guest/vcpu.js'
import { PADDR_MAX, u64 } from '../units.js'
import { dumpedGuest } from './dumped-guest.js'
import { type FoundNote, refuseElf } from './elf-file.js'

/** The control registers that lead to page tables. */
interface Tables {
  readonly cr3: bigint
  readonly cr4: bigint
}

/**
 * Returns the guest with these vcpus.
 * @param vmcoreinfo its text, or an empty one.
 * @throws DomainBuilderError `bad-snapshot` for an invalid note, `unknown-format` where the tables are unknown.
 */
export function crashedGuest(
  notes: readonly FoundNote[],
  vmcoreinfo: string,
  is64: boolean,
  memory: GuestMemory,
): Domain {
  const tables = tablesOf(vmcoreinfo, is64)
  if (tables === undefined) {
    throw new DomainBuilderError('unknown-format', 'the dump has no description of the guest', {
      expected: "QEMU's registers, or vmcoreinfo with swapper_pg_dir",
      found: [...new Set(notes.map(({ owner }) => owner))].join(' ') || 'no note',
      offset: 0,
    })
  }
  const found = notes.filter(({ owner, type }) => owner === CORE_NOTE_OWNER && type === NT_PRSTATUS)
  const beyond = found[MAX_VCPUS]
  if (beyond) refuseElf('the number of vcpus is too large', `at most ${MAX_VCPUS}`, `${found.length}`, beyond.offset)
  return dumpedGuest(
    found.map((note, id) => vcpuOf(note, id, is64, tables)),
    is64,
    memory,
  )
}

/** Returns the lines `key=value` of a vmcoreinfo. */
const linesOf = (vmcoreinfo: string): ReadonlyMap<string, string> =>
  new Map(vmcoreinfo.split('\n').map((line) => [line.replace(/=.*$/, ''), line.replace(/^[^=]*=/, '')]))

function tablesOf(vmcoreinfo: string, is64: boolean): Tables | undefined {
  const lines = linesOf(vmcoreinfo)
  const symbol = VMCOREINFO.tables.map((key) => lines.get(key)).find((value) => value !== undefined)
  if (symbol === undefined || !/^[0-9a-f]{1,16}$/i.test(symbol)) return undefined
  const vaddr = BigInt(`0x${symbol}`)
  if (!is64) {
    const pae = lines.get(VMCOREINFO.pae) === 'y' ? CR4_PAE : 0
    return { cr3: BigInt.asUintN(32, vaddr - PAGE_OFFSET_32), cr4: BigInt(pae) }
  }
  const levels = lines.get(VMCOREINFO.fiveLevels) === '1' ? CR4_LA57 : 0
  return { cr3: u64(vaddr - START_KERNEL_MAP + physBaseOf(lines)), cr4: BigInt(CR4_PAE | levels) }
}

function physBaseOf(lines: ReadonlyMap<string, string>): bigint {
  const text = lines.get(VMCOREINFO.physBase) ?? ''
  return /^-?\d{1,19}$/.test(text) ? BigInt(text) : 0n
}

/** Returns the names of a Linux guest, where its vmcoreinfo leads to them: new_utsname. */
export function crashUtsname({ memory, abi }: Domain, vmcoreinfo: string): Uint8Array | undefined {
  const lines = linesOf(vmcoreinfo)
  const [symbol = '', offset = ''] = [lines.get(VMCOREINFO.uts), lines.get(VMCOREINFO.utsName)]
  if (!/^[0-9a-f]{1,16}$/i.test(symbol) || !/^\d{1,6}$/.test(offset)) return undefined
  const base = abi === 'x86_64' ? START_KERNEL_MAP - physBaseOf(lines) : PAGE_OFFSET_32
  const paddr = BigInt(`0x${symbol}`) - base + BigInt(offset)
  const isInside = paddr >= 0n && paddr < BigInt(PADDR_MAX) && memory.covers(Number(paddr), NewUtsname.size)
  return isInside ? memory.read(Number(paddr), NewUtsname.size) : undefined
}

/**
 * Returns the distance of the kernel's physical from its virtual addresses, which crash and drgn add: by its vmcoreinfo,
 * or else by the page that vcpu 0 runs in; 0 where neither tells.
 */
export function crashPhysBase(domain: Domain, vmcoreinfo: string): bigint {
  const lines = linesOf(vmcoreinfo)
  if (lines.has(VMCOREINFO.physBase)) return u64(physBaseOf(lines))
  const rip = domain.vcpus[0]?.registers.rip ?? 0n
  if (rip < START_KERNEL_MAP) return 0n
  try {
    const found = translate(domain, rip)
    return found === undefined ? 0n : u64(BigInt(found.paddr) - (rip - START_KERNEL_MAP))
  } catch (error) {
    // A running guest may use another kind of tables, or a cr3 outside its frames.
    refusalOf(error)
    return 0n
  }
}

function vcpuOf({ desc, offset }: FoundNote, id: number, is64: boolean, { cr3, cr4 }: Tables): Vcpu {
  const Prstatus = is64 ? Prstatus64 : Prstatus32
  if (desc.length < Prstatus.size) {
    refuseElf(`the status of vcpu ${id} is too short`, `${Prstatus.size} bytes`, `${desc.length}`, offset)
  }
  const { pr_reg } = Prstatus.decode(desc)
  const names: readonly string[] = is64 ? PR_REG64 : PR_REG32
  const value = (name: string): bigint => BigInt(pr_reg[names.indexOf(name)] as number | bigint)
  const general = Object.keys(registers({})).filter((name) => names.includes(name))
  return {
    id,
    online: true,
    registers: registers(Object.fromEntries(general.map((name) => [name, value(name)])) as Partial<Registers>),
    segments: Object.fromEntries(
      SEGMENT_REGISTERS.map((name) => [name, { selector: Number(value(name) & 0xffffn) }]),
    ) as unknown as Vcpu['segments'],
    ...{ cr0: BigInt(CR0_PE | CR0_ET) | BigInt(CR0_PG), cr3, cr4, efer: 0n },
    ...{ dr6: BigInt(DR6_RESET), dr7: BigInt(DR7_RESET) },
  }
}
