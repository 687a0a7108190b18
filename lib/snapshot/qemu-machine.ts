/**
 * The machine of QEMU that a stream is made for: its memory, and the command line that starts it.
 *
 * Source: qemu(1); ../abi/qemu-machines.ts.
 * Gotcha: QEMU loads a stream only into the machine that it was saved from, so the command line belongs to the stream.
 */
import { DEVICE_HOLE } from '../abi/pc.js'
import { QEMU_MACHINES, type QemuMachine, type QemuMachineName } from '../abi/qemu-machines.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { without } from '../guest/memory-map.js'
import { alignUp, hex, type Paddr, paddrOf, type Range, showRange, showRanges } from '../units.js'

/** The program whose arguments are made here and in ./qemu.ts. */
export const QEMU = 'qemu-system-x86_64'

/** The names of the machines. */
export const QEMU_MACHINE_NAMES = Object.keys(QEMU_MACHINES) as readonly QemuMachineName[]

/** The machine of a stream for which none is named. */
export const DEFAULT_MACHINE = 'microvm' satisfies QemuMachineName

/** The default processor, qemu64, has 40 bits of address. */
const ADDRESSED = 2 ** 40

/** QEMU rounds the size of memory up to this. */
const MEMORY_UNIT = 8192

/** Returns the places of a machine's RAM in order, which are one after another in its block. */
export function machineRam({ lowMemory }: Pick<QemuMachine, 'lowMemory'>, bytes: number): Range<Paddr>[] {
  // The first one applies from 0 bytes on.
  const { end } = lowMemory.filter(({ from }) => bytes >= from).at(-1) as QemuMachine['lowMemory'][number]
  const low = { start: 0, end: Math.min(bytes, end) }
  return bytes <= end ? [low] : [low, { start: DEVICE_HOLE.end, end: DEVICE_HOLE.end + bytes - end }]
}

/**
 * Returns the bytes of memory that a machine needs for a guest.
 * @throws DomainBuilderError `does-not-fit` for a guest with memory where the machine has no RAM.
 */
export function machineMemory(machine: QemuMachineName, { memory }: Domain): number {
  const { lowMemory } = QEMU_MACHINES[machine]
  const end = paddrOf(memory.endPfn)
  if (end > ADDRESSED) {
    throw new DomainBuilderError('does-not-fit', 'the guest has more memory than the machine can address', {
      expected: `at most ${hex(ADDRESSED)}`,
      found: hex(end),
    })
  }
  const sizes = lowMemory.map(({ from, end: low }) => {
    const bytes = end <= DEVICE_HOLE.end ? end : low + end - DEVICE_HOLE.end
    return alignUp(Math.max(bytes, from), MEMORY_UNIT)
  })
  const ranges = memory.ranges.map(({ start, end }) => ({ start: paddrOf(start), end: paddrOf(end) }))
  for (const bytes of sizes) {
    const ram = machineRam({ lowMemory }, bytes)
    if (ranges.every((range) => without(range, ram).length === 0)) return bytes
  }
  const ram = machineRam({ lowMemory }, sizes.at(-1) as number)
  throw new DomainBuilderError('does-not-fit', `the guest has memory where the machine ${machine} has no RAM`, {
    expected: showRanges(ram),
    found: showRange(ranges.find((range) => without(range, ram).length > 0) ?? { start: 0, end: end }),
  })
}

/**
 * Returns the arguments after `qemu-system-x86_64` that start a stream: no firmware, no display, the guest's console on
 * standard output.
 * @param stream the stream's path, or the number of the file that QEMU finds open.
 */
export function qemuStreamArguments(
  domain: Domain,
  stream: string | number,
  machine: QemuMachineName = DEFAULT_MACHINE,
): string[] {
  const { name, options } = QEMU_MACHINES[machine]
  return [
    ...['-machine', [name, ...options].join(','), '-accel', 'tcg', '-nodefaults', '-no-user-config', '-no-reboot'],
    ...['-m', `${machineMemory(machine, domain) / 1024}K`, '-smp', `${domain.vcpus.length}`],
    ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
    // QEMU gives the rest of a word after exec: to a shell.
    ...['-incoming', typeof stream === 'number' ? `fd:${stream}` : `exec:cat ${shellWord(stream)}`],
  ]
}

/** Returns a file's name as a shell takes it. */
export const shellWord = (name: string): string =>
  /^[\w./][\w./+:=-]*$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`
