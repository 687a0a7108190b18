/**
 * Variants of a guest of the Linux boot protocol.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.
 * Gotcha: a kernel's header forbids some of them, such as a ramdisk above 4 GiB. Building those is refused.
 */
import { BootParams, type BootParamsFields, E820_MAX_ENTRIES_ZEROPAGE } from '../../abi/boot-params.js'
import { readBootParams } from '../../guest/boot-params.js'
import type { Domain, LinuxBoot } from '../../guest/domain.js'
import { GENERAL_REGISTERS } from '../../guest/vcpu.js'
import type { Kernel } from '../../kernel/kernel.js'
import { buildDomain } from '../../protocol/build.js'
import type { LinuxConfig } from '../../protocol/linux-config.js'
import { alignDown, PAGE_SIZE } from '../../units.js'
import { commonVariants, hasModules } from './common-variants.js'
import { having, patternRegisters, type VariantRule, withMemory, withPattern, withRegisters } from './variant.js'

const BOOT = 'Linux Documentation/arch/x86/boot.rst'
const ZERO_PAGE = 'Linux Documentation/arch/x86/zero-page.rst'
/** A type of setup_data that no kernel knows. */
const UNKNOWN_NODE = 0x7ffffffe
/** The command line of kernels whose header does not name its size. */
const OLD_CMDLINE_BYTES = 255
const RAM_ABOVE_4G = { memory: 6 * 2 ** 30, ramdiskAddress: 0x140000000 } as const

type Linux = Domain<LinuxBoot>
type E820Table = BootParamsFields['e820_table']

const built = (kernel: Kernel, config: LinuxConfig): Linux => buildDomain(kernel, config)
/** Returns a maker of the guest with another e820 table in boot_params. */
const mapping =
  (change: (table: E820Table) => E820Table) =>
  (kernel: Kernel, config: LinuxConfig): Domain => {
    const domain = built(kernel, config)
    const { e820_entries, e820_table } = readBootParams(domain)
    const table = change(e820_table.slice(0, e820_entries)).slice(0, E820_MAX_ENTRIES_ZEROPAGE)
    const rest = e820_table
      .slice(0, E820_MAX_ENTRIES_ZEROPAGE - table.length)
      .map(() => ({ addr: 0n, size: 0n, type: 0 }))
    return withParams(domain, { e820_entries: table.length, e820_table: [...table, ...rest] })
  }

function withParams(domain: Linux, change: Partial<BootParamsFields>): Domain {
  const page = BootParams.encode({ ...readBootParams(domain), ...change })
  return withMemory(domain, (memory) => memory.write(domain.boot.bootParams, page))
}

/** As many ranges of RAM as boot_params has room for, none shorter than a page. */
function fullTable(table: E820Table): E820Table {
  const [longest] = [...table].sort((a, b) => Number(b.size - a.size))
  if (longest === undefined) return table
  const parts = E820_MAX_ENTRIES_ZEROPAGE - table.length + 1
  const step = BigInt(alignDown(Math.floor(Number(longest.size) / parts), PAGE_SIZE))
  if (step === 0n) return table
  return table.flatMap((entry) =>
    entry !== longest
      ? [entry]
      : Array.from({ length: parts }, (_, i) => ({
          ...entry,
          addr: entry.addr + BigInt(i) * step,
          size: i === parts - 1 ? entry.size - BigInt(i) * step : step,
        })),
  )
}

/** Whether the first instruction is not in real mode: setup code makes its own boot_params. */
const isNot16 = ({ entry }: LinuxConfig): boolean => entry !== 16

/** The registers that the entry leaves open: all but rsi and rsp; the 32-bit entry wants zero in ebx, ebp and edi. */
function openRegisters(domain: Linux): (typeof GENERAL_REGISTERS)[number][] {
  const fixed = domain.abi === 'x86_64' ? ['rsi', 'rsp'] : ['rsi', 'rsp', 'rbx', 'rbp', 'rdi']
  const has = domain.abi === 'x86_64' ? GENERAL_REGISTERS : GENERAL_REGISTERS.slice(0, 8)
  return has.filter((name) => !fixed.includes(name))
}

/** The variants of a guest of the Linux boot protocol. */
export const LINUX_VARIANTS: readonly VariantRule<LinuxConfig>[] = [
  ...([16, 32, 64] as const).map(
    (entry): VariantRule<LinuxConfig> => ({
      name: `entry-${entry}`,
      rule: 'A loader may use any entry that the header offers.',
      source: BOOT,
      differs: (config) => config.entry !== entry,
      make: having({ entry }),
    }),
  ),
  {
    name: 'e820-unsorted',
    rule: 'The e820 table has no order: it comes from firmware.',
    source: `${ZERO_PAGE}, e820_table`,
    differs: isNot16,
    make: mapping((table) => table.toReversed()),
  },
  {
    name: 'e820-full',
    rule: 'The e820 table has up to 128 entries.',
    source: `${ZERO_PAGE}, e820_entries`,
    differs: isNot16,
    make: mapping(fullTable),
  },
  {
    name: 'hole-at-0',
    rule: 'RAM begins where the e820 table says; firmware may own the first pages.',
    source: `${ZERO_PAGE}, e820_table`,
    differs: ({ reserve, entry }) => reserve === undefined && entry !== 16,
    make: having({ reserve: [{ start: 0, end: 0x8000 }] }),
  },
  {
    name: 'setup-data-unknown',
    rule: 'setup_data is a list that later loaders extend with other types.',
    source: `${BOOT}, setup_data`,
    differs: ({ setupData }) => setupData === undefined,
    make: having({ setupData: [{ type: UNKNOWN_NODE, data: new Uint8Array(24) }] }),
  },
  {
    name: 'loaded-elsewhere',
    rule: 'A relocatable kernel may be loaded at any address of its alignment.',
    source: `${BOOT}, relocatable_kernel`,
    differs: ({ loadAddress }) => loadAddress === undefined,
    make: (kernel, config) => {
      const header = kernel.linux?.header
      const align = header?.kernel_alignment || 2 ** 21
      const preferred = Number(header?.pref_address ?? 2 ** 24)
      return built(kernel, { ...config, loadAddress: preferred + align })
    },
  },
  {
    name: 'ramdisk-high',
    rule: 'With XLF_CAN_BE_LOADED_ABOVE_4G a ramdisk may lie above 4 GiB.',
    source: `${BOOT}, xloadflags`,
    differs: hasModules,
    make: having(RAM_ABOVE_4G),
  },
  {
    name: 'registers-pattern',
    rule: 'The entries leave all other registers open.',
    source: `${BOOT}, "32-bit Boot Protocol" and "64-bit Boot Protocol"`,
    differs: isNot16,
    make: (kernel, config) => {
      const domain = built(kernel, config)
      const bits = domain.abi === 'x86_64' ? 64 : 32
      return withRegisters(domain, patternRegisters(openRegisters(domain), bits))
    },
  },
  {
    name: 'memory-pattern',
    rule: 'Memory that nothing was loaded into has any content.',
    source: BOOT,
    make: (kernel, config) => withPattern(built(kernel, config)),
  },
  ...commonVariants<LinuxConfig>(
    { memory: ZERO_PAGE, vcpus: BOOT, cmdline: `${BOOT}, cmdline_size`, ramdisk: `${BOOT}, ramdisk_size` },
    ({ linux }) => linux?.header.cmdline_size ?? OLD_CMDLINE_BYTES,
  ),
]
