/**
 * build KERNEL -o OUT: builds a guest and writes a snapshot.
 *
 * Source: ../protocol/build.ts, ./build-options.ts, ./output.ts.
 * Gotcha: the purpose of the guest depends on the format, so the format is known first.
 */
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { describeDomain, domainText } from '../inspect/describe.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import type { SnapshotFormat } from '../snapshot/format.js'
import { SNAPSHOT_FORMATS } from '../snapshot/formats.js'
import { qemuArguments } from '../snapshot/qemu.js'
import { QEMU, qemuStreamArguments } from '../snapshot/qemu-machine.js'
import { showSize } from '../units.js'
import { purposeOption, readConfig, typedOptions } from './build-options.js'
import type { Command } from './command.js'
import { describeGuest, guestOptions, kernelOperand, readPolicies, remarksOn } from './guest-options.js'
import { openKernel } from './input.js'
import {
  type Destination,
  machineOption,
  outputOptions,
  readDestination,
  writeDestination,
  xenOption,
} from './output.js'
import { say } from './printer.js'

export const command: Command = {
  usage: 'build [KERNEL] -o OUT [--config FILE] [options]',
  help: 'Builds a guest from a kernel and writes a snapshot.',
  options: {
    ...outputOptions,
    ...guestOptions,
    purpose: purposeOption(`by the format: ${purposes()}, others create, or vmm for --type linux`),
    xen: xenOption,
    machine: machineOption,
    ...typedOptions,
  },
  operands: [kernelOperand],
  examples: [
    'build vmlinuz -o guest.img --memory 256M --cmdline console=hvc0',
    'build vmlinuz -o guest.xl --ramdisk initrd.img',
    'build vmlinuz -o guest --type linux --format qemu',
    'build vmlinuz -o guest.mig --type linux --machine q35',
  ],
  async run({ values, positionals, progress, answer }) {
    const destination = readDestination('build', values, 'raw')
    const { output, format } = destination
    const guest = describeGuest(
      { values, positionals },
      { command: 'build', options: command.options, ...(format === 'xl' ? { refusal: notInXlFile } : {}) },
    )
    const config = readConfig(values, SNAPSHOT_FORMATS[format].purpose, guest)
    const policies = await readPolicies(values, progress)
    const kernel = await openKernel(guest.kernel, progress)
    const domain = buildDomain(kernel, { ...config, ...defined({ policies: policies?.records }) } as DomainConfig)
    policies?.requireFor(domain.type)
    if (format === 'xl' && domain.type === 'pvh' && domain.maxmem > (config.memory ?? 0)) {
      const size = showSize(domain.maxmem)
      say(
        `the restored guest begins with its maxmem, ${size}, since a save file has no memory on demand: xl mem-set lowers it`,
      )
    }
    await writeDestination(domain, destination, progress)
    progress.end()
    if (output === '-') return
    const starts = qemuCommand(domain, destination)
    const { xlCfg } = guest
    answer('build', {
      json: () =>
        defined({ output, format, config: xlCfg && remarksOn(xlCfg), command: starts, guest: describeDomain(domain) }),
      text: () => [...domainText(domain), ...(starts ? ['', showCommand(starts)] : [])],
    })
  },
}

/** The restored guest would not be the one asked for. */
const notInXlFile = (keys: string): string =>
  `not carried into an xl file: ${keys}: remove them here, and restore with "xl restore CONFIG FILE", where CONFIG has them`

/** Returns the purpose of each format that has one. */
function purposes(): string {
  return Object.values<SnapshotFormat>(SNAPSHOT_FORMATS)
    .flatMap(({ name, purpose }) => (purpose === undefined ? [] : [`${name} ${purpose}`]))
    .join(', ')
}

/** Returns the command line that starts the guest in QEMU, for a format that is for QEMU. */
function qemuCommand(domain: Domain, { format, output, machine, compress }: Destination): string[] | undefined {
  if (format === 'qemu') return [QEMU, ...qemuArguments(domain, output)]
  // QEMU reads no compressed stream.
  if (format === 'qemu-stream' && !compress) return [QEMU, ...qemuStreamArguments(domain, output, machine)]
  return undefined
}

/** Returns a command as a shell takes it. */
function showCommand(words: readonly string[]): string {
  return words.map((word) => (/^[\w./,=:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
}
