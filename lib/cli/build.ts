/**
 * build KERNEL -o OUT: builds a guest and writes a snapshot.
 *
 * Source: xl.cfg(5) for the words; ../protocol/build.ts, ../snapshot/raw.ts.
 * Gotcha: a bare number for --memory is MiB, as in xl.cfg.
 */
import * as path from 'node:path'
import { DomainBuilderError } from '../errors.js'
import { ACPI_PROFILES } from '../guest/acpi.js'
import type { Domain } from '../guest/domain.js'
import type { P2mSpec } from '../guest/p2m.js'
import { describeDomain, domainText } from '../inspect/describe.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import { PVH_PLATFORMS } from '../protocol/pvh-config.js'
import { rawSidecar } from '../snapshot/raw.js'
import { PAGE_SIZE, parseSize } from '../units.js'
import { type Command, text, texts, UsageError, type Values } from './command.js'
import { breathe, readInput, writeOutputs } from './files.js'
import { openKernel } from './input.js'
import type { Progress } from './progress.js'

const TYPES = ['pv', 'pvh', 'auto'] as const
const FORMATS = ['raw'] as const
const ACPI = [...ACPI_PROFILES, 'none'] as const

export const command: Command = {
  usage: 'build KERNEL -o OUT [options]',
  help: `Builds a guest from a kernel and writes a snapshot.

  -o, --output FILE     the snapshot; raw writes FILE and FILE.json
  --type TYPE           ${TYPES.join(', ')} (default auto: the kernel's best)
  --format FORMAT       ${FORMATS.join(', ')} (default raw)
  --memory SIZE         such as 256M or 4G; a bare number is MiB (default 128M)
  --vcpus N             default 1
  --ramdisk FILE        may be given more than once
  --cmdline TEXT        the kernel's command line
  --name NAME           default "guest"
  --features LIST       features to ask of the kernel, joined with |
  --p2m SPEC            identity, offset:N, or file:PATH (u64 little-endian, one mfn a page, all ones a hole)
pvh:
  --platform WHO        ${PVH_PLATFORMS.join(' or ')}: who will run it (default xen)
  --acpi PROFILE        ${ACPI.join(', ')} (default: the platform's)
  --load-address ADDR   where the kernel goes, if its PHYS32_RELOC note allows
  --start-info N        version of hvm_start_info, 0 or 1 (default 1)`,
  options: {
    output: { type: 'string', short: 'o' },
    type: { type: 'string' },
    format: { type: 'string' },
    memory: { type: 'string' },
    vcpus: { type: 'string' },
    ramdisk: { type: 'string', multiple: true },
    cmdline: { type: 'string' },
    name: { type: 'string' },
    features: { type: 'string' },
    p2m: { type: 'string' },
    platform: { type: 'string' },
    acpi: { type: 'string' },
    'load-address': { type: 'string' },
    'start-info': { type: 'string' },
  },
  operands: [1, 1],
  async run({ values, positionals, json, print, progress }) {
    const output = text(values, 'output')
    if (!output) throw new UsageError('build needs -o FILE')
    if (output === '-') throw new UsageError('raw is two files: -o needs a name')
    const format = oneOf(values, 'format', FORMATS, 'raw')
    const config = readConfig(values)
    const kernel = await openKernel(positionals[0] as string, progress)
    const domain = buildDomain(kernel, config)
    await writeRaw(domain, output, progress)
    progress.end()
    if (json) print(JSON.stringify({ output, format, ...describeDomain(domain) }, null, 2))
    else print(...domainText(domain))
  },
}

function oneOf<const T extends string>(values: Values, name: string, allowed: readonly T[], otherwise: T): T {
  const given = text(values, name) ?? otherwise
  const found = allowed.find((value) => value === given)
  if (!found) throw new UsageError(`--${name} is ${allowed.join(', ')}; not '${given}'`)
  return found
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
  return {
    type: oneOf(values, 'type', TYPES, 'auto'),
    memory: parseSize(text(values, 'memory') ?? '128M'),
    ramdisk: texts(values, 'ramdisk').map(readInput),
    ...(vcpus === undefined ? {} : { vcpus }),
    ...(p2m === undefined ? {} : { p2m }),
    ...Object.fromEntries(strings),
    ...readPvh(values),
  }
}

/** The same words mean the same for whoever builds; those that are absent are left to the builder. */
function readPvh(values: Values): Partial<DomainConfig> {
  const given = (name: string) => text(values, name) !== undefined
  const loadAddress = address(values, 'load-address')
  return {
    ...(given('platform') ? { platform: oneOf(values, 'platform', PVH_PLATFORMS, 'xen') } : {}),
    ...(given('acpi') ? { acpi: oneOf(values, 'acpi', ACPI, 'none') } : {}),
    ...(given('start-info') ? { startInfoVersion: oneOf(values, 'start-info', ['0', '1'], '1') === '0' ? 0 : 1 } : {}),
    ...(loadAddress === undefined ? {} : { loadAddress }),
  }
}

function address(values: Values, name: string): number | undefined {
  const given = text(values, name)
  if (given === undefined) return undefined
  if (!/^(0x[0-9a-f]{1,13}|\d{1,15})$/i.test(given)) throw new UsageError(`--${name} is an address; not '${given}'`)
  return Number(given)
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

/** The image, sparse, and its sidecar. */
async function writeRaw(domain: Domain, output: string, progress: Progress): Promise<void> {
  const total = [...domain.memory.pages()].reduce((sum, { pages }) => sum + pages * PAGE_SIZE, 0)
  let done = 0
  const sidecar = rawSidecar(domain, path.basename(output))
  await writeOutputs([output, `${output}.json`], async ([image, json]) => {
    image?.truncate(domain.memory.endPfn * PAGE_SIZE)
    for (const { paddr, bytes } of domain.memory.chunks()) {
      image?.writeAt(bytes, paddr)
      done += bytes.length
      progress.say(`writing ${output}`, { done, total })
      await breathe()
    }
    json?.writeAt(Buffer.from(`${JSON.stringify(sidecar, null, 1)}\n`), 0)
  })
}
