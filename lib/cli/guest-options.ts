/**
 * The guest that a command line describes: the options of every type of guest, and the xl.cfg that they override.
 *
 * Source: xl.cfg(5) for the option names; ../protocol/xl-cfg-guest.ts.
 * Gotcha: a bare number for --memory is MiB, as in xl.cfg.
 */
import * as path from 'node:path'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { DEFAULT_MEMORY, type LibxlSettings } from '../guest/libxl-config.js'
import { listed } from '../printable.js'
import { policiesOf } from '../protocol/toolstack-config.js'
import { decodeXlCfg } from '../protocol/xl-cfg.js'
import { readXlCfg, type XlCfgGuest, type XlCfgOverrides } from '../protocol/xl-cfg-guest.js'
import { parseSize } from '../units.js'
import {
  type Invocation,
  invalidValue,
  type Option,
  type Options,
  oneOf,
  text,
  texts,
  UsageError,
  type Values,
} from './command.js'
import { exists, readInput } from './files.js'
import { openDomain } from './input.js'
import { say } from './printer.js'
import type { Progress } from './progress.js'

const TYPES = ['pv', 'pvh', 'linux', 'auto'] as const
type GuestType = (typeof TYPES)[number]

/** Returns the option for the type of the guest. */
export const typeOption = (types: readonly GuestType[]) =>
  ({
    type: 'string',
    value: 'TYPE',
    choices: types,
    elsewhere: ['pv', 'pvh', 'hvm', 'linux', 'builder', 'virt-type', 'guest-type'],
    never: { hvm: 'firmware starts HVM guests, so there is no boot state to build; xl save writes their files' },
    help: "(default auto: the kernel's best)",
  }) as const satisfies Option

/** The options of every type of guest. */
export const guestOptions = {
  config: {
    type: 'string',
    value: 'FILE',
    elsewhere: ['cfg', 'config-file', 'defconfig', 'f'],
    help: 'an xl.cfg that describes the kernel and the guest; options override it',
  },
  type: typeOption(TYPES),
  memory: {
    type: 'string',
    value: 'SIZE',
    elsewhere: ['m', 'mem', 'ram', 'maxmem', 'memory-size'],
    help: `such as 256M or 4G; a bare number is MiB (default ${DEFAULT_MEMORY})`,
  },
  vcpus: { type: 'string', value: 'N', elsewhere: ['cpus', 'smp', 'maxvcpus', 'vcpu', 'c'], help: 'default 1' },
  ramdisk: {
    type: 'string',
    multiple: true,
    value: 'FILE',
    elsewhere: ['initrd', 'initramfs', 'module', 'r'],
    help: 'may be given more than once',
  },
  cmdline: {
    type: 'string',
    value: 'TEXT',
    elsewhere: ['append', 'extra', 'args', 'extra-args', 'kernel-args', 'command-line', 'root'],
    help: "the kernel's command line",
  },
  'policy-from': {
    type: 'string',
    value: 'FILE',
    elsewhere: ['cpuid', 'cpu', 'policy', 'cpuid-policy'],
    help: 'an xl file that the target host saved: the guest finds the processor of that guest',
  },
  name: { type: 'string', value: 'NAME', elsewhere: ['n', 'domain', 'title'], help: 'default "guest"' },
} as const satisfies Options

/** The operand of a command that takes a kernel, unless an xl.cfg names it. */
export const kernelOperand = { name: 'KERNEL', file: true, optional: true, elsewhere: ['kernel', 'k'] } as const

/** The part of a configuration that these options and the file decide. The builder checks it. */
type GuestWords = Omit<Partial<XlCfgGuest['config']>, 'type'> & {
  readonly type: GuestType
  readonly ramdisk: readonly Uint8Array[]
  readonly features?: string
  readonly settings?: LibxlSettings
}

/** A guest as its command line and its xl.cfg describe it. */
export interface GuestDescription {
  /** The name of the kernel's file. */
  readonly kernel: string
  readonly xlCfg?: XlCfgGuest
  readonly config: GuestWords
}

/** How a command takes a description. */
interface Taker {
  /** Its name. */
  readonly command: string
  /** Its options, of which some are for one type of guest. */
  readonly options: Options
  /** Returns the refusal of keys that xl obeys and this command does not carry; without it they are remarked only. */
  readonly refusal?: (keys: string) => string
}

/**
 * Returns the guest that options, operand and xl.cfg describe. Remarks on the file go to standard error.
 * @throws UsageError for a missing kernel, for an option of another type of guest, and for keys that are not carried.
 */
export function describeGuest(
  { values, positionals }: Pick<Invocation, 'values' | 'positionals'>,
  { command, options, refusal }: Taker,
): GuestDescription {
  const file = text(values, 'config')
  const xlCfg = file === undefined ? undefined : readXlCfg(decodeXlCfg(readInput(file)), overrides(values, positionals))
  if (file !== undefined && xlCfg) tell(file, xlCfg)
  const kernel = positionals[0] ?? xlCfg?.kernel
  if (kernel === undefined) {
    throw new UsageError(
      xlCfg ? `${file} names no kernel: give a KERNEL` : `${command} needs a KERNEL, or --config FILE`,
    )
  }
  const notCarried = xlCfg?.notCarried ?? []
  if (refusal !== undefined && notCarried.length > 0) {
    throw new UsageError(`${file}: ${refusal(listed(notCarried, ', ', 300))}`)
  }
  return defined({ kernel, xlCfg, config: readWords(values, options, xlCfg) })
}

/** The keys of an xl.cfg that an option decides instead. */
const DECIDES: Readonly<Record<string, readonly string[]>> = {
  memory: ['memory'],
  vcpus: ['vcpus', 'maxvcpus'],
  ramdisk: ['ramdisk'],
  cmdline: ['cmdline', 'root', 'extra'],
  name: ['name'],
  features: ['features'],
}

/** Returns the part of an xl.cfg that the command line decides, a kernel included. */
function overrides(values: Values, positionals: readonly string[]): XlCfgOverrides {
  const options = Object.entries(DECIDES).flatMap(([name, keys]) => (values[name] === undefined ? [] : keys))
  const kernel = positionals.length === 0 ? [] : ['kernel', 'firmware', 'bootloader']
  return { without: [...options, ...kernel], ...defined({ type: oneOf(values, 'type', TYPES) }) }
}

/** Tells the user about the file, in one line for each kind of remark. */
function tell(file: string, { kernel, ramdisk, unused, notCarried, unknown, warnings }: XlCfgGuest): void {
  const near = [kernel, ramdisk].find(
    (name) => name !== undefined && !exists(name) && exists(path.join(path.dirname(file), name)),
  )
  const strange = unknown.map(({ key, meant }) => (meant === undefined ? key : `${key} (did you mean ${meant}?)`))
  const lines = [
    ...(near === undefined ? [] : [`${near} is next to this file; its paths are relative to the working directory`]),
    ...warnings,
    ...(strange.length > 0 ? [`unknown keys: ${listed(strange, ', ', 800)}`] : []),
    ...(unused.length > 0 ? [`ignored, since they change nothing in this guest: ${listed(unused, ', ', 800)}`] : []),
    ...(notCarried.length > 0 ? [`not written, since only xl uses them: ${listed(notCarried, ', ', 800)}`] : []),
  ]
  for (const line of lines) say(`${file}: ${line}`)
}

/** Returns the remarks on an xl.cfg, for a JSON answer. */
export const remarksOn = ({ unused, notCarried, unknown, warnings }: XlCfgGuest) => ({
  unused,
  notCarried,
  unknown: unknown.map(({ key, meant }) => defined({ key, meant })),
  warnings,
})

function readWords(values: Values, options: Options, xlCfg: XlCfgGuest | undefined): GuestWords {
  const type = oneOf(values, 'type', TYPES) ?? xlCfg?.config.type ?? 'auto'
  requireType(values, type, options)
  const memory = text(values, 'memory')
  const ramdisks = texts(values, 'ramdisk')
  return {
    ...xlCfg?.config,
    type,
    ramdisk: (ramdisks.length === 0 && xlCfg?.ramdisk !== undefined ? [xlCfg.ramdisk] : ramdisks).map(readInput),
    ...defined({
      memory: memory === undefined ? undefined : parseSize(memory),
      vcpus: wholeNumber(values, 'vcpus'),
      cmdline: text(values, 'cmdline'),
      name: text(values, 'name'),
    }),
  }
}

/** @throws UsageError for an option of a type that the guest is not known to have. */
function requireType(values: Values, type: GuestType, options: Options): void {
  for (const [name, { types }] of Object.entries(options)) {
    if (values[name] === undefined || !types || types.some((one) => one === type)) continue
    const needed = types.join(' or ')
    throw new UsageError(
      type === 'auto' ? `--${name} needs --type ${needed}` : `--${name} is for --type ${needed}; this guest is ${type}`,
    )
  }
}

function wholeNumber(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
  if (!/^\d{1,9}$/.test(given)) throw invalidValue(`--${name}`, given, 'a whole number')
  return Number(given)
}

/** Returns the processor policies of a saved guest, and a check for the guest that gets them. */
export async function readPolicies(values: Values, progress: Progress) {
  const name = text(values, 'policy-from')
  if (name === undefined) return undefined
  const host = await openDomain(name, progress)
  return {
    records: policiesOf(host),
    /** @throws DomainBuilderError `bad-config`: Xen checks a policy against its own for that type of guest. */
    requireFor(type: string): void {
      if ((host.type === 'pv') === (type === 'pv')) return
      throw new DomainBuilderError('bad-config', `the guest of ${name} has another type`, {
        expected: type,
        found: host.type,
      })
    },
  }
}
