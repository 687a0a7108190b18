/**
 * The options of a guest of the Linux boot protocol.
 *
 * Source: ../protocol/linux-config.ts has their meanings.
 * Gotcha: addresses are hex or decimal bytes; ranges are half-open, as everywhere.
 */
import { defined } from '../defined.js'
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

function address(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
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
  const ranges = (name: string) => texts(values, name).map((given) => range(given, name))
  const [reserve, memmap] = [ranges('reserve'), ranges('memmap')]
  const entry = oneOf(values, 'entry', linuxOptions.entry.choices)
  const ring = oneOf(values, 'ring', linuxOptions.ring.choices)
  const loadAddress = address(values, 'load-address')
  const virtualOffset = address(values, 'virtual-offset')
  const [within, elfcorehdr] = [text(values, 'within'), text(values, 'elfcorehdr')]
  return defined({
    entry: entry && (Number(entry) as 16 | 32 | 64),
    image: oneOf(values, 'image', linuxOptions.image.choices),
    loadAddress,
    virtualOffset: virtualOffset === undefined ? undefined : BigInt(virtualOffset),
    ramdiskAddress: address(values, 'ramdisk-address'),
    reserve: reserve.length > 0 ? reserve : undefined,
    within: within === undefined ? undefined : range(within, 'within'),
    memmap: memmap.length > 0 ? memmap : undefined,
    elfcorehdr: elfcorehdr === undefined ? undefined : readInput(elfcorehdr),
    subarch: oneOf(values, 'subarch', linuxOptions.subarch.choices),
    paging: values.paging === true || undefined,
    ring: ring && (Number(ring) as Ring),
  })
}
