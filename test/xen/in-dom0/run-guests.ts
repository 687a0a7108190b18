/**
 * run-guests.mjs SCRIPT: runs guests on this Xen through a script, and says how each of them ended.
 *
 * Source: our own; a line of JSON for each guest, whose kernel is a file of that name.
 * Gotcha: the purpose comes from the machine. A guest that was built for a VMM is refused.
 */
import { readFileSync } from 'node:fs'
import { buildDomain, type DomainConfig, readKernel } from 'xen-domain-builder'
import { openXenHost, type RunOptions } from 'xen-domain-builder/runner'

const MiB = 2 ** 20
const xen = openXenHost(process.argv[2] ?? '')
interface Guest {
  readonly kernel: string
  readonly config: DomainConfig
  readonly options?: Partial<RunOptions>
}
const grub = { kernel: 'grub', config: { type: 'pvh', memory: 64 * MiB } } as const
const guests: readonly Guest[] = [
  { kernel: 'hello', config: { type: 'pv', memory: 32 * MiB } },
  { kernel: 'lost', config: { type: 'pv', memory: 32 * MiB } },
  { kernel: 'probe', config: { type: 'pvh', memory: 64 * MiB, vcpus: 2 } },
  { ...grub, options: { isEnough: (console) => console.includes('grub>') } },
  { ...grub, options: { timeout: 5 } },
]

for (const { kernel, config, options } of guests) {
  const guest = buildDomain(await readKernel(readFileSync(kernel)), { ...config, purpose: xen.purpose } as DomainConfig)
  const { console: text, ending } = await xen.run(guest, { timeout: 120, ...options })
  console.log(JSON.stringify({ kernel, ending, text: text.slice(0, 40) }))
}
