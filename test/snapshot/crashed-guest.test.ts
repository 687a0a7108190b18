/**
 * Dumps of a kernel that crashed: its page tables, names and place by its vmcoreinfo, and the registers in its notes.
 *
 * Source: lib/snapshot/crashed-guest.ts; Linux Documentation/admin-guide/kdump/vmcoreinfo.rst.
 * Gotcha: vmcoreinfo is text that a damaged kernel wrote, so each value in it may be anything.
 */
import t from 'tap'
import { PR_REG32, PR_REG64, Prstatus32, Prstatus64 } from '../../lib/abi/core-files.js'
import { NewUtsname } from '../../lib/abi/kdump.js'
import { CR0_PG, CR4_LA57, CR4_PAE } from '../../lib/abi/x86.js'
import { MAX_VCPUS, waitingVcpu } from '../../lib/guest/vcpu.js'
import { type Domain, GuestMemory, PAGE_SIZE } from '../../lib/index.js'
import { crashedGuest, crashPhysBase, crashUtsname } from '../../lib/snapshot/crashed-guest.js'
import { pagedGuest } from '../fixtures/paged-guest.js'

const PAGES = 0x40
const memory = new GuestMemory(PAGES)
const TABLES = 'SYMBOL(swapper_pg_dir)'
/** A status whose rip (eip) is 0x1234 and whose cs is 0x10. */
const status = (is64: boolean) => {
  const names: readonly string[] = is64 ? PR_REG64 : PR_REG32
  const values = names.map((name) => (/^[re]?ip$/.test(name) ? 0x1234 : name === 'cs' ? 0xabc0010 : 0))
  return is64
    ? Prstatus64.encode({ ...Prstatus64.zero, pr_reg: values.map(BigInt) })
    : Prstatus32.encode({ ...Prstatus32.zero, pr_reg: values })
}
const note = (desc: Uint8Array, offset = 0x200) => ({ owner: 'CORE', type: 1, desc, offset })

t.test('control registers are those that lead to the tables', async (t) => {
  const found = (lines: readonly string[], is64: boolean) => {
    const { vcpus, abi } = crashedGuest([note(status(is64))], lines.join('\n'), is64, memory)
    return [abi, vcpus[0]?.cr3, vcpus[0]?.cr4, vcpus[0]?.registers.rip]
  }
  const pae = BigInt(CR4_PAE)
  t.same(found([`${TABLES}=ffffffff80003000`], true), ['x86_64', 0x3000n, pae, 0x1234n])
  t.same(found(['SYMBOL(init_top_pgt)=ffffffff80003000', 'NUMBER(phys_base)=-4096'], true)[1], 0x2000n)
  t.same(found([`${TABLES}=ffffffff80003000`, 'NUMBER(phys_base)=0x5'], true)[1], 0x3000n, 'an invalid distance is 0')
  t.same(found([`${TABLES}=ffffffff80003000`, 'NUMBER(pgtable_l5_enabled)=1'], true)[2], pae | BigInt(CR4_LA57))
  t.same(found([`${TABLES}=c0003000`, 'CONFIG_X86_PAE=y'], false), ['x86_32', 0x3000n, pae, 0x1234n])
  t.same(found([`${TABLES}=c0003000`], false)[2], 0n)
})

t.test('a selector has 16 bits of the register', async (t) => {
  for (const is64 of [true, false]) {
    const { vcpus } = crashedGuest([note(status(is64))], `${TABLES}=c0003000`, is64, memory)
    t.same(vcpus[0]?.segments.cs, { selector: 0x10 })
    t.equal((vcpus[0]?.cr0 ?? 0n) & BigInt(CR0_PG), BigInt(CR0_PG))
  }
})

t.test('what is refused', async (t) => {
  const refused = (notes: Parameters<typeof crashedGuest>[0], info: string, code: string, message: RegExp) =>
    t.throws(() => crashedGuest(notes, info, true, memory), { code, message })
  const without = /^the dump has no description of the guest: .*, found /
  refused([], '', 'unknown-format', /, found no note \(file offset 0x0\)$/)
  refused([note(status(true))], '', 'unknown-format', without)
  refused([note(status(true))], `${TABLES}=xyz`, 'unknown-format', without)
  refused(
    [note(status(true).subarray(1))],
    `${TABLES}=ffffffff80003000`,
    'bad-snapshot',
    /^ELF: the status of vcpu 0 is too short: expected 336 bytes, found 335 \(file offset 0x200\)$/,
  )
  const many = Array.from({ length: MAX_VCPUS + 1 }, (_, i) => note(status(true), i))
  refused(
    many,
    `${TABLES}=ffffffff80003000`,
    'bad-snapshot',
    /^ELF: the number of vcpus is too large: expected at most 4096, found 4097 \(file offset 0x1000\)$/,
  )
})

t.test('the names of a kernel are where its vmcoreinfo says', async (t) => {
  const names = NewUtsname.encode({ ...NewUtsname.zero, sysname: 'Linux', release: '6.1.0' })
  const written = new GuestMemory(PAGES)
  written.write(0x5004, names)
  const guest = (abi: Domain['abi']) => ({ memory: written, abi }) as Domain
  const info = (symbol: string, offset = '4') => `SYMBOL(init_uts_ns)=${symbol}\nOFFSET(uts_namespace.name)=${offset}`
  t.same(crashUtsname(guest('x86_64'), info('ffffffff80005000')), names)
  t.same(crashUtsname(guest('x86_64'), `${info('ffffffff80004000')}\nNUMBER(phys_base)=4096`), names)
  t.same(crashUtsname(guest('x86_32'), info('c0005000')), names)
  for (const [what, text] of Object.entries({
    'no symbol': '',
    'no offset': 'SYMBOL(init_uts_ns)=ffffffff80005000',
    'an invalid offset': info('ffffffff80005000', '-1'),
    'below the memory': info('5000'),
    'above all memory': info('ffffffffffffffff', '999999'),
    'beyond the memory': info(`ffffffff8${(PAGES * PAGE_SIZE).toString(16).padStart(7, '0')}`),
  }))
    t.equal(crashUtsname(guest('x86_64'), text), undefined, what)
  t.equal(crashUtsname(guest('x86_32'), info('ffffffffffffffff')), undefined)
})

t.test('the distance of addresses is that of vmcoreinfo, or of the code that runs', async (t) => {
  const base = 0xffffffff80000000n
  const guest = pagedGuest(16, new Map([[base + 0x2000n, 9]]))
  const at = (rip: bigint, domain = guest): Domain => ({
    ...domain,
    vcpus: domain.vcpus.map((vcpu) => ({ ...vcpu, registers: { ...vcpu.registers, rip } })),
  })
  t.equal(crashPhysBase(guest, 'NUMBER(phys_base)=-4096'), BigInt.asUintN(64, -4096n))
  t.equal(crashPhysBase(at(base + 0x2005n), ''), 0x7000n)
  t.equal(crashPhysBase(at(base + 0x3000n), ''), 0n, 'code that is not mapped')
  t.equal(crashPhysBase(at(0x401000n), ''), 0n, 'a process')
  t.equal(crashPhysBase({ ...guest, vcpus: [] }, ''), 0n)
  const lost = { ...guest, vcpus: [{ ...waitingVcpu(0), cr0: BigInt(CR0_PG), cr4: BigInt(CR4_PAE | CR4_LA57) }] }
  const five = { ...lost, vcpus: lost.vcpus.map((vcpu) => ({ ...vcpu, efer: 0x500n })) }
  t.equal(crashPhysBase(at(base + 0x2005n, five), ''), 0n, 'tables of five levels')
})
