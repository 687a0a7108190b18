/**
 * A guest that QEMU's own loader starts, stopped while it runs; QEMU's monitor tells its state.
 *
 * Source: qemu(1); docs/system/monitor.rst; `info registers` from target/i386/cpu-dump.c.
 * Gotcha: "Stopped" is the whole machine, with all its processors, whose states belong together.
 */
import { readFileSync } from 'node:fs'
import type { Domain, Vcpu } from '../../lib/index.js'
import { Random } from '../fixtures/random.js'
import { withMachine } from './qmp.js'

/** Runs a command of QEMU's monitor, and returns what it shows. */
export type Monitor = (command: string) => Promise<string>

/** The guest's serial port and its machine, which is stopped. */
export interface Stopped {
  readonly monitor: Monitor
  /** The output of the guest. */
  readonly console: string
  readonly directory: string
}

/**
 * Starts QEMU with these arguments, stops the guest when it has written the awaited text, and calls `look`.
 * @param awaited undefined: the machine never starts.
 */
export function stoppedGuest<T>(
  args: readonly string[],
  awaited: RegExp | undefined,
  look: (stopped: Stopped) => Promise<T>,
): Promise<T> {
  const bare = ['-nodefaults', '-no-user-config', '-no-reboot', '-accel', 'tcg']
  const ports = ['-display', 'none', '-serial', 'stdio']
  const start = awaited === undefined ? ['-S'] : []
  return withMachine([...bare, ...ports, ...args, ...start], async ({ monitor, console, said, ask, directory }) => {
    if (awaited !== undefined) await said(awaited)
    await ask('stop')
    return look({ monitor, console: console(), directory })
  })
}

/** Registers as `info registers -a` shows them: a number, or a segment's selector, base, limit and flags. */
type Shown = ReadonlyMap<string, readonly bigint[]>

/** Returns the registers of each vcpu. */
function registersShown(text: string): Shown[] {
  return text
    .split(/^CPU#\d+$/m)
    .slice(1)
    .map((part) => {
      const all = part.matchAll(/\b([A-Z][A-Z0-9]{1,3}) ?= *((?:[0-9a-f]{4,16}\b ?){1,4})/g)
      return new Map(
        [...all].map(([, name = '', words = '']) => [
          name,
          words
            .trim()
            .split(' ')
            .map((w) => BigInt(`0x${w}`)),
        ]),
      )
    })
}

const GENERAL = ['ax', 'bx', 'cx', 'dx', 'si', 'di', 'bp', 'sp', 'ip'] as const

/** Returns the same of our vcpus. A 64-bit vcpu that is not in 64-bit mode is shown with 32-bit names. */
function registersOf(vcpu: Vcpu, shown: Shown): Map<string, readonly bigint[]> {
  const is64 = shown.has('RAX')
  const { registers, segments, tr, gdtr, cr0, cr3, cr4, efer, dr6, dr7 } = vcpu
  const general = GENERAL.map((name): [string, bigint[]] => [
    `${is64 ? 'R' : 'E'}${name.toUpperCase()}`,
    [registers[`r${name}` as const]],
  ])
  const numbered = is64
    ? ([8, 9, 10, 11, 12, 13, 14, 15] as const).map((n): [string, bigint[]] => [`R${n}`, [registers[`r${n}` as const]]])
    : []
  const parts = Object.entries({ ...segments, tr }).map(([name, state]): [string, bigint[]] => {
    const { base, limit, attributes } = state?.descriptor ?? { base: 0n, limit: 0, attributes: 0 }
    const flags = (BigInt(attributes & 0xff) << 8n) | (BigInt(attributes >>> 8) << 20n)
    return [name.toUpperCase(), [BigInt(state?.selector ?? 0), base, BigInt(limit), flags]]
  })
  const control = { RFL: registers.rflags, CR0: cr0, CR3: cr3, CR4: cr4, DR6: dr6, DR7: dr7, EFER: efer }
  return new Map([
    ...general,
    ...numbered,
    ...parts,
    ['GDT', [gdtr?.base ?? 0n, BigInt(gdtr?.limit ?? 0)]],
    ...Object.entries(control).map(([name, value]): [string, bigint[]] => [
      name === 'RFL' && !is64 ? 'EFL' : name,
      [value],
    ]),
  ])
}

/** The bits of a segment's flags in `info registers` that are not parts of base and limit. */
const FLAGS = 0xf0ff00n

/**
 * Returns each register in which our vcpus differ from those of `info registers -a`, and how many were compared.
 * @param known bits of EFER that the guest's file has.
 */
export function registersThatDiffer(vcpus: readonly Vcpu[], text: string, known: bigint) {
  const shown = registersShown(text)
  const differ: string[] = []
  let compared = 0
  if (shown.length !== vcpus.length) differ.push(`${vcpus.length} vcpus instead of ${shown.length}`)
  for (const [i, theirs] of shown.entries()) {
    for (const [name, ours] of registersOf(vcpus[i] as Vcpu, theirs)) {
      const wanted = theirs
        .get(name)
        ?.map((value, at) => (at === 3 ? value & FLAGS : name === 'EFER' ? value & known : value))
      compared++
      if (wanted?.join() !== ours.join()) differ.push(`vcpu ${i}: ${name} is ${ours}, QEMU shows ${wanted}`)
    }
  }
  return { compared, differ }
}

/** Returns addresses in the parts of a Linux guest's address space, most of which are mapped. */
export function someAddresses(count: number, parts: readonly (readonly [start: bigint, bytes: number])[]): bigint[] {
  const random = new Random(20)
  return Array.from({ length: count }, () => {
    const [start, bytes] = random.pick(parts)
    return start + BigInt(random.below(bytes))
  })
}

/** Returns the physical address that QEMU's `gva2gpa` tells; undefined for an address that is not mapped. */
export async function gva2gpa(monitor: Monitor, vaddr: bigint): Promise<bigint | undefined> {
  const said = /gpa: (0x[0-9a-f]+|0)/.exec(await monitor(`gva2gpa 0x${vaddr.toString(16)}`))?.[1]
  return said === undefined ? undefined : BigInt(said)
}

/** Returns the first address at which the guest's memory differs from a file of `pmemsave`, which begins there. */
export function memoryThatDiffers({ memory }: Pick<Domain, 'memory'>, file: string, start: number): number | undefined {
  const wanted = readFileSync(file)
  const block = 1 << 20
  for (let at = 0; at < wanted.length; at += block) {
    const theirs = wanted.subarray(at, at + block)
    const ours = memory.read(start + at, theirs.length)
    if (Buffer.compare(ours, theirs) !== 0) return start + at + theirs.findIndex((byte, i) => byte !== ours[i])
  }
  return undefined
}
