/**
 * convert SNAPSHOT -o OUT: one snapshot format into another.
 *
 * Source: ../snapshot/open.ts, ./output.ts.
 * Gotcha: the format comes from --format, else from the extension of the output's name.
 */
import { NEWEST_XEN } from '../abi/xen-release.js'
import type { Domain } from '../guest/domain.js'
import { savedConfigSummary } from '../inspect/saved-config.js'
import { type Command, texts, UsageError } from './command.js'
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
  ],
  async run({ values, positionals, progress, answer }) {
    const destination = readDestination('convert', values)
    if (destination.xen !== undefined && destination.format !== 'xl') {
      throw new UsageError(`--xen is for format xl; this output is ${destination.format}`)
    }
    const name = positionals[0] as string
    const opened = await openDomain(name, progress, texts(values, 'apply'))
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
