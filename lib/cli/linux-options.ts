/**
 * The options of a guest of the Linux boot protocol.
 *
 * Source: ../protocol/linux-config.ts has their meanings.
 * Gotcha: addresses are hex or decimal bytes; ranges are half-open, as everywhere.
 */
import type { LinuxConfig, Ring } from '../protocol/linux-config.js'
import { invalidValue, type Options, oneOf, text, texts, type Values } from './command.js'
import { readInput } from './files.js'

const types = ['linux'] as const
const both = ['pvh', 'linux'] as const

export const linuxOptions = {
  'load-address': {
    type: 'string',
    value: 'ADDR',
    help: 'where the kernel is loaded (default: its preferred address); a PVH kernel needs a PHYS32_RELOC note for it',
    types: both,
  },
  reserve: {
    type: 'string',
    multiple: true,
    value: 'START-END',
    help: 'reserved memory in the memory map of the guest; may be given more than once. If 0x100000 is reserved, a hook moves a kernel that runs only there',
    types: both,
  },
  entry: {
    type: 'string',
    value: 'N',
    choices: ['16', '32', '64'],
    help: 'the mode to enter in (default: the best that the kernel claims); 16 is its setup code in real mode, which needs a BIOS',
    types,
  },
  image: {
    type: 'string',
    value: 'WHICH',
    choices: ['bzImage', 'vmlinux'],
    help: 'the image in a bzImage that is loaded (default bzImage)',
    types,
  },
  'virtual-offset': {
    type: 'string',
    value: 'N',
    help: 'the offset of a vmlinux from its link address, by its relocation table',
    types,
  },
  'ramdisk-address': { type: 'string', value: 'ADDR', help: '(default: as high as the kernel allows)', types },
  within: {
    type: 'string',
    value: 'START-END',
    help: "the range in which everything is placed, such as a crash kernel's reservation (crashkernel=)",
    types,
  },
  memmap: {
    type: 'string',
    multiple: true,
    value: 'START-END',
    help: 'RAM in the memory map of the guest; may be given more than once (default: all of --memory; with --within: low memory and that range). The default of --memory is what these two need',
    types,
  },
  elfcorehdr: {
    type: 'string',
    value: 'FILE',
    help: 'ELF core header of the kernel that may crash; its address is added to the command line',
    types,
  },
  subarch: {
    type: 'string',
    value: 'WHICH',
    choices: ['pc', 'lguest', 'xen'],
    help: 'the last two find start_info through hardware_subarch_data',
    types,
  },
  paging: { type: 'boolean', help: 'enters a kernel of subarch lguest or xen with paging on', types },
  ring: {
    type: 'string',
    value: 'N',
    choices: ['0', '1', '3'],
    help: 'the ring in which a kernel of subarch lguest or xen is entered',
    types,
  },
} as const satisfies Options

const NUMBER = '(0x[0-9a-f]{1,13}|\\d{1,15})'

function address(given: string, name: string): number {
  if (!new RegExp(`^${NUMBER}$`, 'i').test(given)) throw invalidValue(`--${name}`, given, 'an address')
  return Number(given)
}

function range(given: string, name: string): { start: number; end: number } {
  const match = new RegExp(`^${NUMBER}-${NUMBER}$`, 'i').exec(given)
  if (!match) throw invalidValue(`--${name}`, given, 'START-END')
  return { start: Number(match[1]), end: Number(match[2]) }
}

/** The part of a configuration that these options can set; buildDomain checks their combination. */
export type LinuxWords = { -readonly [K in keyof LinuxConfig]?: LinuxConfig[K] }

/** Returns the part of a configuration that these options set. */
export function readLinux(values: Values): LinuxWords {
  const present = <T extends object>(name: string, make: (given: string) => T): Partial<T> => {
    const given = text(values, name)
    return given === undefined ? {} : make(given)
  }
  const ranges = (name: string) => texts(values, name).map((given) => range(given, name))
  const [reserve, memmap] = [ranges('reserve'), ranges('memmap')]
  return {
    ...present('entry', () => ({
      entry: Number(oneOf(values, 'entry', linuxOptions.entry.choices, '64')) as 16 | 32 | 64,
    })),
    ...present('image', () => ({ image: oneOf(values, 'image', linuxOptions.image.choices, 'bzImage') })),
    ...present('load-address', (given) => ({ loadAddress: address(given, 'load-address') })),
    ...present('virtual-offset', (given) => ({ virtualOffset: BigInt(address(given, 'virtual-offset')) })),
    ...present('ramdisk-address', (given) => ({ ramdiskAddress: address(given, 'ramdisk-address') })),
    ...(reserve.length > 0 ? { reserve } : {}),
    ...present('within', (given) => ({ within: range(given, 'within') })),
    ...(memmap.length > 0 ? { memmap } : {}),
    ...present('elfcorehdr', (given) => ({ elfcorehdr: readInput(given) })),
    ...present('subarch', () => ({ subarch: oneOf(values, 'subarch', linuxOptions.subarch.choices, 'pc') })),
    ...(values.paging === true ? { paging: true } : {}),
    ...present('ring', () => ({ ring: Number(oneOf(values, 'ring', linuxOptions.ring.choices, '0')) as Ring })),
  }
}
