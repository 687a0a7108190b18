/**
 * The options of a guest of the Linux boot protocol.
 *
 * Source: ../protocol/linux-config.ts has their meanings.
 * Gotcha: addresses are hex or decimal bytes; ranges are half-open, as everywhere.
 */
import type { ParseArgsConfig } from 'node:util'
import type { LinuxConfig, Ring } from '../protocol/linux-config.js'
import { oneOf, text, texts, UsageError, type Values } from './command.js'
import { readInput } from './files.js'

export const linuxOptions = {
  entry: { type: 'string' },
  image: { type: 'string' },
  'load-address': { type: 'string' },
  'virtual-offset': { type: 'string' },
  'ramdisk-address': { type: 'string' },
  reserve: { type: 'string', multiple: true },
  within: { type: 'string' },
  memmap: { type: 'string', multiple: true },
  elfcorehdr: { type: 'string' },
  subarch: { type: 'string' },
  paging: { type: 'boolean' },
  ring: { type: 'string' },
} as const satisfies ParseArgsConfig['options']

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

/** What of a configuration these options say. */
export function readLinux(values: Values): Partial<LinuxConfig> {
  const present = <T extends object>(name: string, make: (given: string) => T): Partial<T> => {
    const given = text(values, name)
    return given === undefined ? {} : make(given)
  }
  const ranges = (name: string) => texts(values, name).map((given) => range(given, name))
  const [reserve, memmap] = [ranges('reserve'), ranges('memmap')]
  return {
    ...present('entry', () => ({ entry: Number(oneOf(values, 'entry', ['16', '32', '64'], '64')) as 16 | 32 | 64 })),
    ...present('image', () => ({ image: oneOf(values, 'image', ['bzImage', 'vmlinux'], 'bzImage') })),
    ...present('load-address', (given) => ({ loadAddress: address(given, 'load-address') })),
    ...present('virtual-offset', (given) => ({ virtualOffset: BigInt(address(given, 'virtual-offset')) })),
    ...present('ramdisk-address', (given) => ({ ramdiskAddress: address(given, 'ramdisk-address') })),
    ...(reserve.length > 0 ? { reserve } : {}),
    ...present('within', (given) => ({ within: range(given, 'within') })),
    ...(memmap.length > 0 ? { memmap } : {}),
    ...present('elfcorehdr', (given) => ({ elfcorehdr: readInput(given) })),
    ...present('subarch', () => ({ subarch: oneOf(values, 'subarch', ['pc', 'lguest', 'xen'], 'pc') })),
    ...(values.paging === true ? { paging: true } : {}),
    ...present('ring', () => ({ ring: Number(oneOf(values, 'ring', ['0', '1', '3'], '0')) as Ring })),
  }
}
