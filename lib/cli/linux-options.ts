/**
 * The options of a guest of the Linux boot protocol.
 *
 * Source: ../protocol/linux-config.ts has their meanings.
 * Gotcha: addresses are hex or decimal bytes; ranges are half-open, as everywhere.
 */
import type { LinuxConfig, Ring } from '../protocol/linux-config.js'
import { type Options, oneOf, text, texts, UsageError, type Values } from './command.js'
import { readInput } from './files.js'

const types = ['linux'] as const
const both = ['pvh', 'linux'] as const

export const linuxOptions = {
  'load-address': {
    type: 'string',
    value: 'ADDR',
    help: 'where the kernel is loaded (default: where it prefers to be); a PVH kernel needs a PHYS32_RELOC note for it',
    types: both,
  },
  reserve: {
    type: 'string',
    multiple: true,
    value: 'START-END',
    help: 'memory that the guest is told to leave alone; may be given more than once. A kernel that can only run at 0x100000 is moved there by a hook where that is reserved',
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
    help: 'which of the two that a bzImage holds (default bzImage)',
    types,
  },
  'virtual-offset': {
    type: 'string',
    value: 'N',
    help: 'how much further up a vmlinux is to run, by its relocation table',
    types,
  },
  'ramdisk-address': { type: 'string', value: 'ADDR', help: '(default: as high as the kernel allows)', types },
  within: {
    type: 'string',
    value: 'START-END',
    help: "where everything is placed: a crash kernel's reservation (crashkernel=), say",
    types,
  },
  memmap: {
    type: 'string',
    multiple: true,
    value: 'START-END',
    help: 'RAM that the guest is told of, may be given more than once (default: all of --memory; with --within low memory and that); without --memory there is as much as these two need',
    types,
  },
  elfcorehdr: {
    type: 'string',
    value: 'FILE',
    help: 'ELF core header of the kernel that may crash: placed, and said on the command line',
    types,
  },
  subarch: {
    type: 'string',
    value: 'WHICH',
    choices: ['pc', 'lguest', 'xen'],
    help: 'the last two find start_info through hardware_subarch_data',
    types,
  },
  paging: { type: 'boolean', help: 'a kernel of such a subarch is entered with paging on', types },
  ring: {
    type: 'string',
    value: 'N',
    choices: ['0', '1', '3'],
    help: 'the ring that a kernel of such a subarch is entered in',
    types,
  },
} as const satisfies Options

const NUMBER = '(0x[0-9a-f]{1,13}|\\d{1,15})'

function address(given: string, name: string): number {
  if (!new RegExp(`^${NUMBER}$`, 'i').test(given)) throw new UsageError(`--${name} is an address; not '${given}'`)
  return Number(given)
}

function range(given: string, name: string): { start: number; end: number } {
  const match = new RegExp(`^${NUMBER}-${NUMBER}$`, 'i').exec(given)
  if (!match) throw new UsageError(`--${name} is START-END; not '${given}'`)
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
