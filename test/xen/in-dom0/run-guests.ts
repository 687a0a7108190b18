/**
 * run-guests.mjs SCRIPT KERNEL...: runs guests on this Xen through a script, and says how each of them ended.
 *
 * Source: our own; a line of JSON for each guest. Its kernel is a file of that name, linux also has a ramdisk.
 * Gotcha: the purpose comes from the machine. A guest that was built for a VMM is refused.
 */
import { readFileSync } from 'node:fs'
import { buildDomain, type DomainConfig, readKernel } from 'xen-domain-builder'
import { openXenHost, type RunOptions } from 'xen-domain-builder/runner'

const MiB = 2 ** 20
const [, , script = '', ...kernels] = process.argv
const xen = openXenHost(script)
interface Guest {
  readonly kernel: string
  readonly config: DomainConfig
  readonly options?: Partial<RunOptions>
}
/** A guest that ends only when it is told to. */
const linux = {
  kernel: 'linux',
  config: { type: 'pv', memory: 128 * MiB, cmdline: 'console=hvc0 quiet' },
} as const
const guests: readonly Guest[] = [
  { kernel: 'hello', config: { type: 'pv', memory: 32 * MiB } },
  { kernel: 'grub', config: { type: 'pv', memory: 64 * MiB } },
  { kernel: 'lost', config: { type: 'pv', memory: 32 * MiB } },
  { kernel: 'probe', config: { type: 'pvh', memory: 64 * MiB, vcpus: 2 } },
  { ...linux, options: { isEnough: (console) => console.includes('GUEST-READY') } },
  { ...linux, options: { timeout: 3 } },
]

for (const { kernel, config, options } of guests.filter(({ kernel }) => kernels.includes(kernel))) {
  const ramdisk = kernel === 'linux' ? { ramdisk: readFileSync('ramdisk') } : {}
  const guest = buildDomain(await readKernel(readFileSync(kernel)), {
    ...config,
    ...ramdisk,
    purpose: xen.purpose,
  } as DomainConfig)
  const { console: text, ending } = await xen.run(guest, { timeout: 120, ...options })
  console.log(JSON.stringify({ kernel, ending, text: text.slice(0, 400) }))
}
