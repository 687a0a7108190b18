/**
 * The options of a guest of the Linux boot protocol.
 *
 * Source: ../protocol/linux-config.ts has their meanings.
 * Gotcha: addresses are hex or decimal bytes; ranges are half-open, as everywhere.
 */
import { defined } from '../defined.js'
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

function address(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
  if (!new RegExp(`^${NUMBER}$`, 'i').test(given)) throw invalidValue(`--${name}`, given, 'an address')
  return Number(given)
}

/** Returns a half-open range of addresses. @throws DomainBuilderError `usage` for another form. */
export function addressRange(given: string, name: string): { start: number; end: number } {
  const match = new RegExp(`^${NUMBER}-${NUMBER}$`, 'i').exec(given)
  if (!match) throw invalidValue(`--${name}`, given, 'START-END')
  return { start: Number(match[1]), end: Number(match[2]) }
}

/** The part of a configuration that these options can set; buildDomain checks their combination. */
export type LinuxWords = { -readonly [K in keyof LinuxConfig]?: LinuxConfig[K] }

/** Returns the part of a configuration that these options set. */
export function readLinux(values: Values): LinuxWords {
  const ranges = (name: string) => texts(values, name).map((given) => addressRange(given, name))
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
    within: within === undefined ? undefined : addressRange(within, 'within'),
    memmap: memmap.length > 0 ? memmap : undefined,
    elfcorehdr: elfcorehdr === undefined ? undefined : readInput(elfcorehdr),
    subarch: oneOf(values, 'subarch', linuxOptions.subarch.choices),
    paging: values.paging === true || undefined,
    ring: ring && (Number(ring) as Ring),
  })
}
