/** A kernel of our own, entered in every state there is, reports what it was given; and it is what boot.rst says. */
import t, { type Test } from 'tap'
import { BootParams } from '../../lib/abi/boot-params.js'
import { StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import {
  buildDomain,
  type Domain,
  type LinuxConfig,
  PAGE_SIZE,
  readBootParams,
  readKernel,
  readStartInfo,
} from '../../lib/index.js'
import { buildBzImage } from '../../lib/testing/index.js'
import {
  parseReport,
  SEGMENT_NAMES,
  type StateKernel,
  type StateReport,
  stateCode,
  stateElf,
} from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, runInQemu } from './harness.js'

const MiB = 2 ** 20
const ADDRESS = 0x1000000

interface Case {
  readonly name: string
  readonly kernel: StateKernel
  readonly file?: Uint8Array
  readonly vaddr?: number | bigint
  readonly config: Partial<LinuxConfig>
}

const kernel = (bits: 32 | 64, ring0 = true): StateKernel => ({ bits, address: ADDRESS, ring0 })
const asImage = (spec: StateKernel): Uint8Array =>
  buildBzImage({ payload: stateCode(spec), payloadOffset: 0, header: { payload_length: 0, init_size: MiB } })

const cases: readonly Case[] = [
  { name: 'bzImage, 32-bit entry', kernel: kernel(32), file: asImage(kernel(32)), config: { entry: 32 } },
  { name: 'bzImage, 64-bit entry', kernel: kernel(64), file: asImage(kernel(64)), config: { entry: 64 } },
  { name: 'vmlinux, 32-bit', kernel: kernel(32), config: {} },
  { name: 'vmlinux, 64-bit', kernel: kernel(64), config: {} },
  { name: 'Xen subarch, 32-bit, paging off', kernel: kernel(32), config: { subarch: 'xen' } },
  { name: 'Xen subarch, 32-bit, paging off, ring 1', kernel: kernel(32, false), config: { subarch: 'xen', ring: 1 } },
  ...(['xen', 'lguest'] as const).flatMap((subarch) =>
    ([0, 1, 3] as const).flatMap((ring): Case[] => [
      {
        name: `${subarch}, 32-bit, paging on, ring ${ring}`,
        kernel: kernel(32, ring === 0),
        vaddr: 0xc1000000,
        config: { subarch, ring, paging: true },
      },
      // In long mode ring 1 is as privileged as ring 0 to the page tables, and as little to the registers as ring 3.
      {
        name: `${subarch}, 64-bit, paging on, ring ${ring}`,
        kernel: kernel(64, ring === 0),
        vaddr: 0xffffffff81000000n,
        config: { subarch, ring, paging: true },
      },
    ]),
  ),
]

function check(t: Test, { kernel: { bits, ring0 }, config }: Case, domain: Domain, report: StateReport): void {
  const { fields } = report
  const ring = config.ring ?? 0
  const paging = bits === 64 || config.paging === true
  const [vcpu] = domain.vcpus
  // Every register, but for those that the 64-bit entry leaves open, is as the Domain has it.
  for (const [name, value] of Object.entries(vcpu?.registers ?? {})) {
    if (name !== 'rip' && name !== 'rflags' && name in fields) t.equal(fields[name], value, name)
  }
  t.equal(fields.rsi, BigInt(domain.boot.kind === 'boot_params' ? domain.boot.bootParams : 0))
  if (bits === 32) for (const name of ['rbx', 'rbp', 'rdi']) t.equal(fields[name], 0n, `${name} is zero (boot.rst)`)
  t.equal((fields.flags ?? 0n) & 0x200n, 0n, 'interrupts are disabled')
  t.equal(fields.flags, vcpu?.registers.rflags, 'flags')
  t.ok(
    (fields.ip ?? 0n) >= BigInt(ADDRESS) && (fields.ip ?? 0n) < BigInt(ADDRESS + 0x1000),
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
    // lar shows the descriptor's second word: the limit's high bits are undefined in it.
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

for (const one of cases) {
  t.test(one.name, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const file = one.file ?? stateElf({ ...one.kernel, ...(one.vaddr === undefined ? {} : { vaddr: one.vaddr }) })
    const domain = buildDomain(await readKernel(file), {
      memory: 64 * MiB,
      cmdline: 'state',
      ...one.config,
      type: 'linux',
    })
    check(t, one, domain, parseReport(await runInQemu(domain), one.kernel.bits))
  })
}
