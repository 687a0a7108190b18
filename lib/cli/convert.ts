/**
 * convert SNAPSHOT -o OUT: one snapshot format into another.
 *
 * Source: ../snapshot/open.ts, ./output.ts.
 * Gotcha: the format comes from --format, else from the extension of the output's name.
 */
import { NEWEST_XEN } from '../abi/xen-release.js'
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { savedConfigSummary } from '../inspect/saved-config.js'
import { type MemoryState, openMemory } from '../snapshot/memory-image.js'
import { type Command, invalidValue, text, texts, UsageError, type Values } from './command.js'
import { openInputSource } from './files.js'
import { openDomain } from './input.js'
import { machineOption, outputOptions, readDestination, writeDestination, xenOption } from './output.js'
import { say } from './printer.js'

export const command: Command = {
  usage: 'convert SNAPSHOT -o OUT [--apply DELTA] [options]',
  help: `Writes a snapshot in another format; memory and vcpus stay the same. With --apply, OUT is the second guest of a delta, and SNAPSHOT the first.`,
  options: {
    ...outputOptions,
    apply: {
      type: 'string',
      value: 'DELTA',
      multiple: true,
      help: 'a delta that diff --save wrote; may be given more than once, for deltas that follow one another',
    },
    cr3: {
      type: 'string',
      value: 'ADDRESS',
      help: 'the page tables of memory that has no description: a LiME dump, or an image of memory by address',
    },
    abi: { type: 'string', value: 'ABI', help: 'x86_64 (the default) or x86_32 (PAE), for such memory' },
    register: {
      type: 'string',
      value: 'NAME=VALUE',
      multiple: true,
      help: 'a register of vcpu 0 for such memory, such as rip=0xffffffff81000000; may be given more than once',
    },
    machine: machineOption,
    xen: { ...xenOption, help: `the release of Xen that is to restore an xl file (default the newest, ${NEWEST_XEN})` },
    'drop-config': {
      type: 'boolean',
      help: 'leaves out the configuration that the guest was saved with: its device model, disks and network',
    },
  },
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: [
    'convert guest.img -o guest.xl',
    'convert guest.img -o guest.core',
    'convert guest.img --apply other.delta -o other.core',
    'convert memory.raw --cr3 0x1a2b000 -o guest.core',
  ],
  async run({ values, positionals, progress, answer }) {
    const destination = readDestination('convert', values)
    if (destination.xen !== undefined && destination.format !== 'xl') {
      throw new UsageError(`--xen is for format xl; this output is ${destination.format}`)
    }
    const name = positionals[0] as string
    const state = memoryState(values)
    const deltas = texts(values, 'apply')
    if (state !== undefined && deltas.length > 0)
      throw new UsageError('--apply is for a snapshot; this is memory alone')
    const opened =
      state === undefined ? await openDomain(name, progress, deltas) : openMemory(openInputSource(name), state)
    const domain = values['drop-config'] === true ? withoutConfig(opened) : opened
    await writeDestination(domain, destination, progress)
    progress.end()
    const config = domain.saved?.config
    const kept = config === undefined ? undefined : savedConfigSummary(config)
    if (kept !== undefined) {
      say(`${name}: the configuration that the guest was saved with is kept (--drop-config leaves it out): ${kept}`)
    }
    const { output, format } = destination
    if (output === '-') return
    answer('convert', { json: () => ({ output, format }) })
  },
}

/** Returns the guest with its records, but without its configuration: xl gets one made from the guest alone. */
function withoutConfig(domain: Domain): Domain {
  const { saved } = domain
  return saved === undefined ? domain : { ...domain, saved: { records: saved.records } }
}

/** Returns the state that is given for memory without a description; undefined where none is. */
function memoryState(values: Values): MemoryState | undefined {
  const [cr3, abi, given] = [text(values, 'cr3'), text(values, 'abi'), texts(values, 'register')]
  if (cr3 === undefined && abi === undefined && given.length === 0) return undefined
  const value = (option: string, number: string): bigint => {
    if (!/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(number)) throw invalidValue(option, number, 'a number, decimal or 0x...')
    return BigInt(number)
  }
  const registers = given.map((one) => {
    const [, name = '', number = ''] = /^([a-z0-9]+)=(.*)$/.exec(one) ?? []
    if (name === '') throw invalidValue('--register', one, 'NAME=VALUE, such as rip=0x1000')
    return [name, value('--register', number)] as const
  })
  return defined({
    abi: abi as MemoryState['abi'],
    cr3: cr3 === undefined ? undefined : value('--cr3', cr3),
    registers: Object.fromEntries(registers),
  })
}
