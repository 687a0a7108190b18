/**
 * build KERNEL -o OUT: builds a guest and writes a snapshot.
 *
 * Source: xl.cfg(5) for the words; ../protocol/build.ts, ./output.ts.
 * Gotcha: a bare number for --memory is MiB, as in xl.cfg.
 */
import * as path from 'node:path'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { pcMemoryUpTo } from '../guest/memory-map.js'
import type { P2mSpec } from '../guest/p2m.js'
import { describeDomain, domainText } from '../inspect/describe.js'
import { listed } from '../printable.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import type { LinuxConfig } from '../protocol/linux-config.js'
import { readXlCfg, type XlCfgGuest } from '../protocol/xl-cfg-guest.js'
import { qemuArguments } from '../snapshot/qemu.js'
import { PAGE_SIZE, parseSize } from '../units.js'
import { type Command, type Option, oneOf, text, texts, UsageError, type Values } from './command.js'
import { exists, readInput } from './files.js'
import { openKernel } from './input.js'
import { linuxOptions, readLinux } from './linux-options.js'
import { compressionOf, compressOption, filesOf, formatFor, formatOption, writeSnapshot } from './output.js'
import { say, takeStandardOutput } from './printer.js'
import { pvhOptions, readPvh } from './pvh-options.js'

const TYPES = ['pv', 'pvh', 'linux', 'auto'] as const

export const command: Command = {
  usage: 'build [KERNEL] -o OUT [--config FILE] [options]',
  help: 'Builds a guest from a kernel and writes a snapshot.',
  options: {
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      elsewhere: ['out', 'outfile', 'output-file'],
      help: 'the snapshot, - for standard output; raw writes FILE and FILE.json, qemu FILE.rom too',
    },
    config: {
      type: 'string',
      value: 'FILE',
      elsewhere: ['cfg', 'config-file', 'defconfig', 'f'],
      help: 'an xl.cfg with the kernel and the guest; what is said here too wins over the file',
    },
    type: {
      type: 'string',
      value: 'TYPE',
      choices: TYPES,
      elsewhere: ['pv', 'pvh', 'hvm', 'linux', 'builder', 'virt-type', 'guest-type'],
      never: { hvm: 'a firmware starts an HVM guest, so there is none to build; xl save makes their files' },
      help: "(default auto: the kernel's best)",
    },
    format: formatOption('raw'),
    compress: compressOption,
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
    features: {
      type: 'string',
      value: 'LIST',
      help: 'features to ask of the kernel, joined with |',
      types: ['pv'],
    },
    p2m: {
      type: 'string',
      value: 'SPEC',
      help: 'identity, offset:N, or file:PATH (u64 little-endian, one mfn a page, all ones a hole)',
      types: ['pv'],
    },
    ...pvhOptions,
    ...linuxOptions,
  },
  operands: [{ name: 'KERNEL', file: true, optional: true, elsewhere: ['kernel', 'k'] }],
  examples: [
    'build vmlinuz -o guest.img --memory 256M --cmdline console=hvc0',
    'build vmlinuz -o guest.xl --ramdisk initrd.img',
    'build vmlinuz -o guest --type linux --format qemu',
  ],
  async run({ values, positionals, json, progress, answer }) {
    const output = text(values, 'output')
    if (!output) throw new UsageError('build needs -o FILE')
    const format = formatFor(values, output) ?? 'raw'
    if (output === '-' && filesOf(format) > 1) throw new UsageError(`${format} is several files: -o needs a name`)
    const compress = compressionOf(text(values, 'compress'), format, output)
    takeStandardOutput(output, 'a snapshot', json)
    // What restoring asks of a guest: the calls it makes through its hypercall page, and a ramdisk it finds without flags.
    const restorable = format === 'xl' ? { fillHypercallPage: true, mapRamdisk: true } : {}
    // What QEMU or kexec starts finds a PC, which only a PVH guest has to be told.
    const machine = format === 'qemu' || format === 'kexec' ? { platform: 'pc' as const } : {}
    const file = text(values, 'config')
    const guest = file === undefined ? undefined : readXlCfg(Buffer.from(readInput(file)).toString('utf8'))
    if (file !== undefined && guest) tell(file, guest)
    const kernelName = positionals[0] ?? guest?.kernel
    if (kernelName === undefined) {
      throw new UsageError(guest ? `${file} names no kernel: give a KERNEL` : 'build needs a KERNEL, or --config FILE')
    }
    const config = { ...machine, ...readConfig(values, guest), ...restorable }
    const kernel = await openKernel(kernelName, progress)
    const domain = buildDomain(kernel, config)
    requireMeant(values, domain.type)
    await writeSnapshot(domain, format, output, progress, compress)
    progress.end()
    if (output === '-') return
    const starts = format === 'qemu' ? ['qemu-system-x86_64', ...qemuArguments(domain, output)] : undefined
    answer(
      'build',
      () => ({
        output,
        format,
        ...(guest ? { config: said(guest) } : {}),
        ...(starts ? { command: starts } : {}),
        guest: describeDomain(domain),
      }),
      () => [...domainText(domain), ...(starts ? ['', showCommand(starts)] : [])],
    )
  },
}

/** @throws UsageError for an option that this type of guest has no use for: it would be passed over without a word. */
function requireMeant(values: Values, type: Domain['type']): void {
  for (const [name, { types }] of Object.entries<Option>(command.options)) {
    if (values[name] === undefined || !types || types.some((one) => one === type)) continue
    throw new UsageError(`--${name} is for --type ${types.join(' and ')}; this guest is ${type}`)
  }
}

const said = ({ unused, unknown, warnings }: XlCfgGuest) => ({
  unused,
  unknown: unknown.map(({ key, meant }) => ({ key, ...(meant === undefined ? {} : { meant }) })),
  warnings,
})

/** What the user should know of the file: a line of each kind that there is. */
function tell(file: string, { kernel, ramdisk, unused, unknown, warnings }: XlCfgGuest): void {
  const beside = [kernel, ramdisk].find(
    (name) => name !== undefined && !exists(name) && exists(path.join(path.dirname(file), name)),
  )
  const strange = unknown.map(({ key, meant }) => (meant === undefined ? key : `${key} (did you mean ${meant}?)`))
  const lines = [
    ...(beside === undefined
      ? []
      : [`${beside} lies beside this file; paths in it are taken from where the command runs`]),
    ...warnings,
    ...(strange.length > 0 ? [`no key of xl.cfg: ${listed(strange, ', ', 800)}`] : []),
    ...(unused.length > 0 ? [`for xl, not for a builder: ${listed(unused, ', ', 800)}`] : []),
  ]
  for (const line of lines) say(`${file}: ${line}`)
}

function wholeNumber(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
  if (!/^\d{1,9}$/.test(given)) throw new UsageError(`--${name} is a whole number; not '${given}'`)
  return Number(given)
}

/** What the options say, and where they are silent the file. */
function readConfig(values: Values, guest: XlCfgGuest | undefined): DomainConfig {
  const vcpus = wholeNumber(values, 'vcpus')
  const memory = text(values, 'memory')
  const ramdisks = texts(values, 'ramdisk')
  const p2m = readP2m(text(values, 'p2m'))
  const strings = ['cmdline', 'name', 'features'].flatMap((name) => {
    const value = text(values, name)
    return value === undefined ? [] : [[name, value]]
  })
  const linux = readLinux(values)
  return {
    ...guest?.config,
    type: oneOf(values, 'type', TYPES, guest?.config.type ?? 'auto'),
    memory: memory === undefined ? (guest?.config.memory ?? leastMemory(linux)) : parseSize(memory),
    ramdisk: (ramdisks.length === 0 && guest?.ramdisk !== undefined ? [guest.ramdisk] : ramdisks).map(readInput),
    ...(vcpus === undefined ? {} : { vcpus }),
    ...(p2m === undefined ? {} : { p2m }),
    ...Object.fromEntries(strings),
    ...linux,
    ...readPvh(values),
  }
}

/** What xl gives, or a machine that has the ranges which were named. */
function leastMemory({ within, memmap = [] }: Partial<LinuxConfig>): number {
  const ends = [...memmap, ...(within ? [within] : [])].map(({ end }) => pcMemoryUpTo(end))
  return ends.length === 0 ? parseSize('128M') : Math.max(PAGE_SIZE, ...ends)
}

function readP2m(spec: string | undefined): P2mSpec | undefined {
  if (spec === undefined || spec === 'identity') return spec
  const offset = /^offset:(\d{1,13}|0x[0-9a-f]{1,11})$/i.exec(spec)
  if (offset) return { offset: Number(offset[1]) }
  if (!spec.startsWith('file:')) throw new UsageError(`--p2m is identity, offset:N or file:PATH; not '${spec}'`)
  const bytes = readInput(spec.slice('file:'.length))
  if (bytes.length % 8 !== 0) {
    throw new DomainBuilderError('bad-config', 'the p2m file is not a list of u64', {
      expected: 'a multiple of 8 bytes',
      found: `${bytes.length}`,
    })
  }
  return { table: new BigUint64Array(bytes.slice().buffer) }
}

/** A command as a shell takes it. */
function showCommand(words: readonly string[]): string {
  return words.map((word) => (/^[\w./,=:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
}
