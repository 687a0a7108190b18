/**
 * Variants of every type of guest: how much memory there is, how many vcpus, which command line and which ramdisk.
 *
 * Source: PC hardware has a hole below 4 GiB for devices; the boot protocols promise no size.
 * Gotcha: a kernel may need more memory than the smallest machine has. The smallest one that it fits is made.
 */
import { DEVICE_HOLE } from '../../abi/pc.js'
import { DomainBuilderError } from '../../errors.js'
import type { Domain } from '../../guest/domain.js'
import type { Kernel } from '../../kernel/kernel.js'
import { buildDomain } from '../../protocol/build.js'
import type { DomainConfig } from '../../protocol/config.js'
import { having, type VariantRule } from './variant.js'

/** The least memory that is tried, and the most. */
const LEAST_MEMORY = 4 * 2 ** 20
const VCPUS_MAX = 128
/** Begins the part of a command line that a variant adds. */
const FILLER = ' filler='

/** The documents of a type of guest, for the rules that all types have. */
interface Documents {
  /** That of the memory that the guest is told of. */
  readonly memory: string
  readonly vcpus: string
  readonly cmdline: string
  readonly ramdisk: string
}

/**
 * Returns the variants.
 * @param cmdlineBytes the most bytes of a command line, without its NUL.
 */
export function commonVariants<C extends DomainConfig>(
  documents: Documents,
  cmdlineBytes: (kernel: Kernel) => number,
): VariantRule<C>[] {
  const memory = (name: string, rule: string, bytes: number): VariantRule<C> => ({
    name,
    rule,
    source: documents.memory,
    differs: (config) => config.memory !== bytes,
    make: having({ memory: bytes, maxmem: bytes }),
  })
  const cmdline = (name: string, rule: string, text: (kernel: Kernel, config: C) => string): VariantRule<C> => ({
    name,
    rule,
    source: documents.cmdline,
    differs: ({ cmdline = '' }) => name !== 'cmdline-empty' || cmdline !== '',
    make: (kernel, config) => buildDomain(kernel, { ...config, cmdline: text(kernel, config) }),
  })
  const vcpus = (count: number): VariantRule<C> => ({
    name: `vcpus-${count}`,
    rule: 'A guest has any number of vcpus, and only the first one runs at the entry.',
    source: documents.vcpus,
    differs: (config) => (config.vcpus ?? 1) !== count,
    make: having({ vcpus: count }),
  })
  return [
    {
      name: 'memory-least',
      rule: 'No protocol promises a kernel more memory than it is loaded into.',
      source: documents.memory,
      make: leastMemory,
    },
    memory('memory-to-hole', 'RAM may end where the hole for devices begins.', DEVICE_HOLE.start),
    memory('memory-above-4g', 'RAM may go on above the hole for devices, beyond 32-bit addresses.', 5 * 2 ** 30),
    memory('memory-1t', 'The size of a range of RAM has 64 bits.', 2 ** 40),
    vcpus(1),
    vcpus(VCPUS_MAX),
    cmdline('cmdline-empty', 'The command line is optional.', () => ''),
    cmdline('cmdline-longest', 'A command line may be as long as the protocol allows.', (kernel, { cmdline = '' }) =>
      `${cmdline}${FILLER}`.padEnd(cmdlineBytes(kernel), 'x'),
    ),
    {
      name: 'ramdisk-none',
      rule: 'The ramdisk is optional.',
      source: documents.ramdisk,
      differs: hasModules,
      make: having({ ramdisk: [] }),
    },
    {
      name: 'ramdisk-1-byte',
      rule: 'A ramdisk has any length, in bytes.',
      source: documents.ramdisk,
      make: having({ ramdisk: new Uint8Array(1) }),
    },
  ]
}

/** Whether a configuration has a ramdisk or modules. */
export const hasModules = ({ ramdisk }: DomainConfig): boolean =>
  ramdisk !== undefined && (ramdisk instanceof Uint8Array || ramdisk.length > 0)

/** Returns the guest with the least power of two of memory that it fits. */
function leastMemory(kernel: Kernel, config: DomainConfig): Domain {
  for (let memory = LEAST_MEMORY; ; memory *= 2) {
    try {
      return buildDomain(kernel, { ...config, memory, maxmem: memory })
    } catch (error) {
      if (!(error instanceof DomainBuilderError) || memory * 2 >= config.memory) throw error
    }
  }
}
