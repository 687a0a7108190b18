/**
 * build KERNEL -o OUT: builds a guest and writes a snapshot.
 *
 * Source: xl.cfg(5) for the words; ../protocol/build.ts, ./output.ts.
 * Gotcha: a bare number for --memory is MiB, as in xl.cfg.
 */
import { DomainBuilderError } from '../errors.js'
import { pcMemoryUpTo } from '../guest/memory-map.js'
import type { P2mSpec } from '../guest/p2m.js'
import { describeDomain, domainText } from '../inspect/describe.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import type { LinuxConfig } from '../protocol/linux-config.js'
import { PVH_PLATFORMS } from '../protocol/pvh-config.js'
import { qemuArguments } from '../snapshot/qemu.js'
import { PAGE_SIZE, parseSize } from '../units.js'
import { type Command, oneOf, text, texts, UsageError, type Values } from './command.js'
import { readInput } from './files.js'
import { openKernel } from './input.js'
import { linuxOptions, readLinux } from './linux-options.js'
import { compressionOf, FORMATS, filesOf, writeSnapshot } from './output.js'
import { ACPI, pvhOptions, readPvh } from './pvh-options.js'

const TYPES = ['pv', 'pvh', 'linux', 'auto'] as const

export const command: Command = {
  usage: 'build KERNEL -o OUT [options]',
  help: `Builds a guest from a kernel and writes a snapshot.

  -o, --output FILE     the snapshot, - for standard output; raw writes FILE and FILE.json, qemu FILE.rom too
  --type TYPE           ${TYPES.join(', ')} (default auto: the kernel's best)
  --format FORMAT       ${FORMATS.join(', ')} (default raw)
  --compress gzip       or a name that ends in .gz; for a format that is one file
  --memory SIZE         such as 256M or 4G; a bare number is MiB (default 128M)
  --vcpus N             default 1
  --ramdisk FILE        may be given more than once
  --cmdline TEXT        the kernel's command line
  --name NAME           default "guest"
  --features LIST       features to ask of the kernel, joined with |
  --p2m SPEC            identity, offset:N, or file:PATH (u64 little-endian, one mfn a page, all ones a hole)
For --type pvh:
  --platform WHO        ${PVH_PLATFORMS.join(' or ')}: who will run it (default xen; with --format qemu or kexec pc)
  --acpi PROFILE        ${ACPI.join(', ')} (default: the platform's)
  --load-address ADDR   where the kernel is loaded, if its PHYS32_RELOC note allows
  --reserve START-END   as below
  --start-info N        version of hvm_start_info, 0 or 1 (default 1)
For --type linux:
  --entry N             16, 32 or 64, the mode to enter in (default: the best that the kernel claims); 16 is its setup
                        code in real mode, which needs a BIOS
  --image WHICH         bzImage or vmlinux: which of the two that a bzImage holds (default bzImage)
  --load-address ADDR   where the kernel is loaded (default: where it prefers to be)
  --virtual-offset N    how much further up a vmlinux is to run, by its relocation table
  --ramdisk-address ADDR  (default: as high as the kernel allows)
  --reserve START-END   memory that the guest is told to leave alone; may be given more than once. A kernel that can
                        only run at 0x100000 is moved there by a hook where that is reserved
  --within START-END    where everything is placed: a crash kernel's reservation (crashkernel=), say
  --memmap START-END    RAM that the guest is told of, may be given more than once (default: all of --memory; with
                        --within low memory and that); without --memory there is as much as these two need
  --elfcorehdr FILE     ELF core header of the kernel that may crash: placed, and said on the command line
  --subarch WHICH       pc, lguest or xen: the last two find start_info through hardware_subarch_data
  --paging, --ring N    how a kernel of such a subarch is entered`,
  options: {
    ...linuxOptions,
    ...pvhOptions,
    output: { type: 'string', short: 'o' },
    type: { type: 'string' },
    format: { type: 'string' },
    compress: { type: 'string' },
    memory: { type: 'string' },
    vcpus: { type: 'string' },
    ramdisk: { type: 'string', multiple: true },
    cmdline: { type: 'string' },
    name: { type: 'string' },
    features: { type: 'string' },
    p2m: { type: 'string' },
  },
  operands: [1, 1],
  async run({ values, positionals, json, print, progress }) {
    const output = text(values, 'output')
    if (!output) throw new UsageError('build needs -o FILE')
    const format = oneOf(values, 'format', FORMATS, 'raw')
    if (output === '-' && filesOf(format) > 1) throw new UsageError(`${format} is several files: -o needs a name`)
    const compress = compressionOf(text(values, 'compress'), format, output)
    // What restoring asks of a guest: the calls it makes through its hypercall page, and a ramdisk it finds without flags.
    const restorable = format === 'xl' ? { fillHypercallPage: true, mapRamdisk: true } : {}
    // What QEMU or kexec starts finds a PC, which only a PVH guest has to be told.
    const machine = format === 'qemu' || format === 'kexec' ? { platform: 'pc' as const } : {}
    const config = { ...machine, ...readConfig(values), ...restorable }
    const kernel = await openKernel(positionals[0] as string, progress)
    const domain = buildDomain(kernel, config)
    await writeSnapshot(domain, format, output, progress, compress)
    progress.end()
    if (output === '-') return
    if (json) print(JSON.stringify({ output, format, ...describeDomain(domain) }, null, 2))
    else print(...domainText(domain))
    if (!json && format === 'qemu') print('', showCommand(['qemu-system-x86_64', ...qemuArguments(domain, output)]))
  },
}

function wholeNumber(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
  if (!/^\d{1,9}$/.test(given)) throw new UsageError(`--${name} is a whole number; not '${given}'`)
  return Number(given)
}

function readConfig(values: Values): DomainConfig {
  const vcpus = wholeNumber(values, 'vcpus')
  const p2m = readP2m(text(values, 'p2m'))
  const strings = ['cmdline', 'name', 'features'].flatMap((name) => {
    const value = text(values, name)
    return value === undefined ? [] : [[name, value]]
  })
  const linux = readLinux(values)
  const memory = text(values, 'memory')
  return {
    type: oneOf(values, 'type', TYPES, 'auto'),
    memory: memory === undefined ? leastMemory(linux) : parseSize(memory),
    ramdisk: texts(values, 'ramdisk').map(readInput),
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
