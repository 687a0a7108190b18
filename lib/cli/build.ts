/**
 * build KERNEL -o OUT: builds a guest and writes a snapshot.
 *
 * Source: xl.cfg(5) for the option names; ../protocol/build.ts, ./output.ts.
 * Gotcha: a bare number for --memory is MiB, as in xl.cfg.
 */
import * as path from 'node:path'
import { defined } from '../defined.js'
import { pcMemoryUpTo } from '../guest/memory-map.js'
import { PURPOSES } from '../guest/purpose.js'
import { describeDomain, domainText } from '../inspect/describe.js'
import { listed } from '../printable.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import { decodeXlCfg } from '../protocol/xl-cfg.js'
import { readXlCfg, type XlCfgGuest } from '../protocol/xl-cfg-guest.js'
import type { SnapshotFormat } from '../snapshot/format.js'
import { SNAPSHOT_FORMATS, type SnapshotFormatName } from '../snapshot/formats.js'
import { qemuArguments } from '../snapshot/qemu.js'
import { PAGE_SIZE, parseSize } from '../units.js'
import { type Command, invalidValue, type Option, oneOf, text, texts, UsageError, type Values } from './command.js'
import { exists, readInput } from './files.js'
import { openKernel } from './input.js'
import { type LinuxWords, linuxOptions, readLinux } from './linux-options.js'
import { outputOptions, readDestination, writeDestination } from './output.js'
import { say } from './printer.js'
import { pvOptions, readPv } from './pv-options.js'
import { pvhOptions, readPvh } from './pvh-options.js'

const TYPES = ['pv', 'pvh', 'linux', 'auto'] as const

export const command: Command = {
  usage: 'build [KERNEL] -o OUT [--config FILE] [options]',
  help: 'Builds a guest from a kernel and writes a snapshot.',
  options: {
    ...outputOptions,
    config: {
      type: 'string',
      value: 'FILE',
      elsewhere: ['cfg', 'config-file', 'defconfig', 'f'],
      help: 'an xl.cfg that describes the kernel and the guest; options override it',
    },
    type: {
      type: 'string',
      value: 'TYPE',
      choices: TYPES,
      elsewhere: ['pv', 'pvh', 'hvm', 'linux', 'builder', 'virt-type', 'guest-type'],
      never: { hvm: 'firmware starts HVM guests, so there is no boot state to build; xl save writes their files' },
      help: "(default auto: the kernel's best)",
    },
    purpose: {
      type: 'string',
      value: 'WHAT',
      choices: PURPOSES,
      help: `Xen creates the guest, xl restores it from a file, or a VMM starts it (default by the format: ${purposes()}, others create, or vmm for --type linux)`,
    },
    memory: {
      type: 'string',
      value: 'SIZE',
      elsewhere: ['m', 'mem', 'ram', 'maxmem', 'memory-size'],
      help: 'such as 256M or 4G; a bare number is MiB (default 128M)',
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
    name: { type: 'string', value: 'NAME', elsewhere: ['n', 'domain', 'title'], help: 'default "guest"' },
    ...pvOptions,
    ...pvhOptions,
    ...linuxOptions,
  },
  operands: [{ name: 'KERNEL', file: true, optional: true, elsewhere: ['kernel', 'k'] }],
  examples: [
    'build vmlinuz -o guest.img --memory 256M --cmdline console=hvc0',
    'build vmlinuz -o guest.xl --ramdisk initrd.img',
    'build vmlinuz -o guest --type linux --format qemu',
  ],
  async run({ values, positionals, progress, answer }) {
    const destination = readDestination('build', values, 'raw')
    const { output, format } = destination
    const file = text(values, 'config')
    const guest = file === undefined ? undefined : readXlCfg(decodeXlCfg(readInput(file)))
    if (file !== undefined && guest) tell(file, guest)
    const kernelName = positionals[0] ?? guest?.kernel
    if (kernelName === undefined) {
      throw new UsageError(guest ? `${file} names no kernel: give a KERNEL` : 'build needs a KERNEL, or --config FILE')
    }
    const config = readConfig(values, format, guest)
    const kernel = await openKernel(kernelName, progress)
    const domain = buildDomain(kernel, config)
    await writeDestination(domain, destination, progress)
    progress.end()
    if (output === '-') return
    const starts = format === 'qemu' ? ['qemu-system-x86_64', ...qemuArguments(domain, output)] : undefined
    answer('build', {
      json: () =>
        defined({ output, format, config: guest && said(guest), command: starts, guest: describeDomain(domain) }),
      text: () => [...domainText(domain), ...(starts ? ['', showCommand(starts)] : [])],
    })
  },
}

/** @throws UsageError for an option of a type that the guest is not known to have. */
function requireType(values: Values, type: (typeof TYPES)[number]): void {
  for (const [name, { types }] of Object.entries<Option>(command.options)) {
    if (values[name] === undefined || !types || types.some((one) => one === type)) continue
    const needed = types.join(' or ')
    throw new UsageError(
      type === 'auto' ? `--${name} needs --type ${needed}` : `--${name} is for --type ${needed}; this guest is ${type}`,
    )
  }
}

const said = ({ unused, unknown, warnings }: XlCfgGuest) => ({
  unused,
  unknown: unknown.map(({ key, meant }) => defined({ key, meant })),
  warnings,
})

/** Tells the user about the file, in one line for each kind of remark. */
function tell(file: string, { kernel, ramdisk, unused, unknown, warnings }: XlCfgGuest): void {
  const near = [kernel, ramdisk].find(
    (name) => name !== undefined && !exists(name) && exists(path.join(path.dirname(file), name)),
  )
  const strange = unknown.map(({ key, meant }) => (meant === undefined ? key : `${key} (did you mean ${meant}?)`))
  const lines = [
    ...(near === undefined ? [] : [`${near} is next to this file; its paths are relative to the working directory`]),
    ...warnings,
    ...(strange.length > 0 ? [`unknown keys: ${listed(strange, ', ', 800)}`] : []),
    ...(unused.length > 0 ? [`ignored, since only xl uses them: ${listed(unused, ', ', 800)}`] : []),
  ]
  for (const line of lines) say(`${file}: ${line}`)
}

function wholeNumber(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
  if (!/^\d{1,9}$/.test(given)) throw invalidValue(`--${name}`, given, 'a whole number')
  return Number(given)
}

/** Returns the configuration from the options, then the file and the format. buildDomain checks the result. */
function readConfig(values: Values, format: SnapshotFormatName, guest: XlCfgGuest | undefined): DomainConfig {
  const type = oneOf(values, 'type', TYPES) ?? guest?.config.type ?? 'auto'
  requireType(values, type)
  const vcpus = wholeNumber(values, 'vcpus')
  const memory = text(values, 'memory')
  const purpose = oneOf(values, 'purpose', PURPOSES) ?? SNAPSHOT_FORMATS[format].purpose
  const ramdisks = texts(values, 'ramdisk')
  const linux = readLinux(values)
  const config = {
    ...guest?.config,
    type,
    memory: memory === undefined ? (guest?.config.memory ?? leastMemory(linux)) : parseSize(memory),
    ramdisk: (ramdisks.length === 0 && guest?.ramdisk !== undefined ? [guest.ramdisk] : ramdisks).map(readInput),
    ...defined({ vcpus, purpose, cmdline: text(values, 'cmdline'), name: text(values, 'name') }),
    ...readPv(values),
    ...readPvh(values),
    ...linux,
  }
  return config as DomainConfig
}

/** Returns xl's default, or the size of a machine that has the named ranges. */
function leastMemory({ within, memmap = [] }: LinuxWords): number {
  const ends = [...memmap, ...(within ? [within] : [])].map(({ end }) => pcMemoryUpTo(end))
  return ends.length === 0 ? parseSize('128M') : Math.max(PAGE_SIZE, ...ends)
}

/** Returns the purpose of each format that has one. */
function purposes(): string {
  return Object.values<SnapshotFormat>(SNAPSHOT_FORMATS)
    .flatMap(({ name, purpose }) => (purpose === undefined ? [] : [`${name} ${purpose}`]))
    .join(', ')
}

/** Returns a command as a shell takes it. */
function showCommand(words: readonly string[]): string {
  return words.map((word) => (/^[\w./,=:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
}
