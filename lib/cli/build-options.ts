/**
 * The options of a guest of any type that can be built, and the configuration that they describe.
 *
 * Source: ./guest-options.ts, and one file for the options of each type.
 * Gotcha: the purpose comes from the command, since its default depends on what becomes of the guest.
 */

import { XEN_RELEASES } from '../abi/xen-release.js'
import { defined } from '../defined.js'
import { DEFAULT_MEMORY } from '../guest/libxl-config.js'
import { pcMemoryUpTo } from '../guest/memory-map.js'
import { PURPOSES, type Purpose } from '../guest/purpose.js'
import type { DomainConfig } from '../protocol/config.js'
import { PAGE_SIZE, parseSize } from '../units.js'
import { type Option, type Options, oneOf, type Values } from './command.js'
import { dom0Options, readDom0 } from './dom0-options.js'
import { type GuestDescription, guestOptions } from './guest-options.js'
import { type LinuxWords, linuxOptions, readLinux } from './linux-options.js'
import { xenOption } from './output.js'
import { say } from './printer.js'
import { pvOptions, readPv } from './pv-options.js'
import { pvhOptions, readPvh } from './pvh-options.js'

/** Returns the option for the purpose of a guest. @param byDefault what decides without it. */
export const purposeOption = (byDefault: string) =>
  ({
    type: 'string',
    value: 'WHAT',
    choices: PURPOSES,
    help: `Xen creates the guest, xl restores it from a file, or a VMM starts it (default ${byDefault})`,
  }) as const satisfies Option

/** The options that one type of guest has, or some of them. */
export const typedOptions = { ...pvOptions, ...dom0Options, ...pvhOptions, ...linuxOptions } as const satisfies Options

/** The options of a guest, except its purpose. */
export const buildOptions = { ...guestOptions, xen: xenOption, ...typedOptions } as const satisfies Options

/** Returns the configuration from the options, then the file and the purpose. buildDomain checks the result. */
export function readConfig(values: Values, otherwise: Purpose | undefined, { config }: GuestDescription): DomainConfig {
  const purpose = oneOf(values, 'purpose', PURPOSES) ?? otherwise
  const linux = readLinux(values)
  const { settings, ...words } = config
  if (settings !== undefined && purpose === 'vmm') {
    say('the settings for xl are ignored, since the guest is for a VMM')
  }
  return {
    memory: leastMemory(linux),
    ...words,
    ...defined({
      purpose,
      xen: oneOf(values, 'xen', XEN_RELEASES),
      settings: purpose === 'vmm' ? undefined : settings,
    }),
    ...readDom0(values, words.type),
    ...readPv(values),
    ...readPvh(values),
    ...linux,
  } as DomainConfig
}

/** Returns the default, or the size of a machine that has the named ranges. */
function leastMemory({ within, memmap = [] }: LinuxWords): number {
  const ends = [...memmap, ...(within ? [within] : [])].map(({ end }) => pcMemoryUpTo(end))
  return ends.length === 0 ? parseSize(DEFAULT_MEMORY) : Math.max(PAGE_SIZE, ...ends)
}
