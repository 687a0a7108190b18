/**
 * Compares the state that our kernel found at its entry with the Domain and with boot.rst.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol", "64-bit Boot Protocol".
 * Gotcha: outside ring 0, reading control registers faults, so they are not checked there.
 */
import type { Test } from 'tap'
import { BootParams } from '../../lib/abi/boot-params.js'
import { StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import { type Domain, type LinuxConfig, PAGE_SIZE, readBootParams, readStartInfo } from '../../lib/index.js'
import { SEGMENT_NAMES, type StateKernel, type StateReport, stateCode } from '../fixtures/state-kernel.js'

/** A kernel, and the configuration of its entry. */
export interface StateCase {
  readonly kernel: StateKernel
  readonly config: Partial<LinuxConfig>
}

export function checkState(t: Test, { kernel: spec, config }: StateCase, domain: Domain, report: StateReport): void {
  const { bits, ring0, vaddr } = spec
  const { fields } = report
  const ring = config.ring ?? 0
  const paging = bits === 64 || config.paging === true
  const [vcpu] = domain.vcpus
  // Every register except those that the 64-bit entry leaves undefined is as in the Domain.
  for (const [name, value] of Object.entries(vcpu?.registers ?? {})) {
    if (name !== 'rip' && name !== 'rflags' && name in fields) t.equal(fields[name], value, name)
  }
  t.equal(fields.rsi, BigInt(domain.boot.kind === 'boot_params' ? domain.boot.bootParams : 0))
  if (bits === 32) for (const name of ['rbx', 'rbp', 'rdi']) t.equal(fields[name], 0n, `${name} is zero (boot.rst)`)
  t.equal((fields.flags ?? 0n) & 0x200n, 0n, 'interrupts are disabled')
  t.equal(fields.flags, vcpu?.registers.rflags, 'flags')
  t.ok(
    (fields.ip ?? 0n) >= BigInt(spec.address) && (fields.ip ?? 0n) < BigInt(spec.address + 0x1000),
    'entered at its own address',
  )
  if (ring0) {
    t.equal(fields.cr0, paging ? 0x80000011n : 0x11n)
    t.equal(fields.cr4, paging ? 0x20n : 0n)
    t.equal(fields.efer, bits === 64 ? 0x500n : 0n)
    t.equal(fields.cr3, vcpu?.cr3)
  }
  t.equal((fields.msw ?? 0n) & 1n, 1n, 'protected mode')
  t.equal(fields.cs, BigInt(0x10 | ring), '__BOOT_CS')
  for (const name of SEGMENT_NAMES.slice(1)) t.equal(fields[name], BigInt(0x18 | ring), `${name} is __BOOT_DS`)
  for (const name of SEGMENT_NAMES) {
    const code = name === 'cs'
    const rights = (code ? (bits === 64 ? 0xa09b00 : 0xc09b00) : 0xc09300) | (ring << 13)
    // lar shows the descriptor's second word, in which the limit's high bits are undefined.
    t.equal(
      (fields[`${name} rights`] ?? 0n) & 0xf0ff00n,
      BigInt(rights),
      `${name}: type, level, present, size, granularity`,
    )
    t.equal(fields[`${name} limit`], 0xffffffffn, `${name} reaches to 4 GiB`)
  }
  t.equal(fields['gdt base'], vcpu?.gdtr?.base)
  t.equal(fields['gdt limit'], BigInt(vcpu?.gdtr?.limit ?? 0))
  t.same(report.gdt, domain.memory.read(Number(vcpu?.gdtr?.base), 32), 'its GDT, in its memory')
  t.same(BootParams.decode(report.bootParams), readBootParams(domain), 'boot_params')
  if (vaddr !== undefined) {
    const first = Buffer.from(stateCode(spec)).readUInt32LE()
    t.equal(fields['code at vaddr'], BigInt(first), 'its segment is mapped where it asks to be')
  }
  if (config.subarch === undefined) {
    t.equal(report.startInfo, undefined)
    return
  }
  const struct = bits === 64 ? StartInfo64 : StartInfo32
  const page = new Uint8Array(PAGE_SIZE)
  page.set(report.startInfo ?? [])
  const found = struct.decode(page)
  const ours = readStartInfo(domain)
  t.equal(found.magic, ours.magic, 'start_info, through hardware_subarch_data')
  t.equal(BigInt(found.nr_pages), ours.nr_pages)
}
