/**
 * Boot information to and from a sidecar, for each kind that a guest can have.
 *
 * Source: our own format, docs/formats.md, "The raw format".
 * Gotcha: the fields of start_info and boot_params are for people and scripts only. Only the addresses of the
 * structures are read back, since the guest's memory has the rest.
 */

import { BootParams } from '../abi/boot-params.js'
import { type FeatureName, XENFEAT } from '../abi/features.js'
import { toBase64 } from '../bytes.js'
import { defined } from '../defined.js'
import { readBootParams } from '../guest/boot-params.js'
import type {
  BootInfo,
  Domain,
  DomainType,
  HvmParam,
  LinuxBoot,
  PageTableFrames,
  PvBoot,
  PvhBoot,
} from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import type { GuestMemory } from '../guest/memory.js'
import { readStartInfo } from '../guest/start-info.js'
import { FRAMES_MAX, hex, PAGE_SIZE, paddrOf, pfnOf, U32_MAX } from '../units.js'
import type { JsonValue } from './json-value.js'

/** Returns the members of a sidecar that locate a guest's boot information, and show its fields. */
export function bootJson(domain: Domain): Record<string, unknown> {
  const { boot } = domain
  switch (boot.kind) {
    case 'start_info':
      return { ...tablesJson(domain, boot), ...pvJson(boot) }
    case 'boot_params':
      return { ...tablesJson(domain, boot), bootParams: bootParamsJson(domain, boot) }
    case 'hvm_start_info':
      return pvhJson(domain, boot)
    case 'firmware':
      return { hvmParams: paramsJson(boot.hvmParams) }
  }
}

/** Returns the members of a guest that may have a start_info and page tables. */
function tablesJson(domain: Domain, { startInfo, pageTables }: PvBoot | LinuxBoot): Record<string, unknown> {
  return defined({
    startInfo: startInfo && {
      pfn: startInfo.pfn,
      vaddr: hex(startInfo.vaddr),
      ...Object.fromEntries(fields(readStartInfo(domain))),
    },
    pageTables,
  })
}

const bootParamsJson = (domain: Domain, { bootParams }: LinuxBoot) => ({
  paddr: hex(bootParams),
  hdr: Object.fromEntries(fields(readBootParams(domain).hdr)),
})

function pvJson(boot: PvBoot): Record<string, unknown> {
  return defined({
    sharedInfo: toBase64(boot.sharedInfo),
    sharedInfoMfn: hex(boot.sharedInfoMfn),
    xenstore: boot.xenstore,
    console: boot.console,
    grants: boot.grants,
    features: boot.features,
    hypercallPage: boot.hypercallPage,
  })
}

/** Returns numbers as hex strings, everything else unchanged. */
const fields = (values: object) =>
  Object.entries(values).map(([name, value]) => [
    name,
    typeof value === 'bigint' || typeof value === 'number' ? hex(value) : value,
  ])

const paramsJson = (params: readonly HvmParam[]) => params.map(({ index, value }) => ({ index, value: hex(value) }))

function pvhJson(domain: Domain, boot: PvhBoot): Record<string, unknown> {
  const params = { hvmParams: paramsJson(boot.hvmParams) }
  if (boot.hvmStartInfo === undefined) return params
  const { paddr, fields: found, cmdline, modules, memmap } = readHvmStartInfo(domain)
  const entries = (list: readonly object[]) => list.map((entry) => Object.fromEntries(fields(entry)))
  return {
    hvmStartInfo: {
      paddr: hex(paddr),
      ...Object.fromEntries(fields(found)),
      cmdline,
      modules: entries(modules),
      memmap: entries(memmap),
    },
    ...params,
  }
}

/** Reads what bootJson() wrote. @throws DomainBuilderError `bad-snapshot`. */
export function openBoot(json: JsonValue, type: DomainType, memory: GuestMemory): BootInfo {
  switch (type) {
    case 'pv':
      return openPv(json, memory)
    case 'pvh':
      return openPvh(json, memory)
    case 'linux':
      return openLinux(json, memory)
    case 'hvm':
      return { kind: 'firmware', hvmParams: openParams(json) }
  }
}

function openLinux(json: JsonValue, memory: GuestMemory): LinuxBoot {
  const bootParams = Number(json.at('bootParams').at('paddr').hex(52))
  if (bootParams + BootParams.size > paddrOf(memory.endPfn)) json.at('bootParams').refuse('boot_params in the memory')
  return defined({
    kind: 'boot_params',
    bootParams,
    startInfo: json.optional('startInfo', (at) => openStartInfo(at, memory)),
    pageTables: json.optional('pageTables', (at) => openPageTables(at, memory)),
  })
}

function openPvh(json: JsonValue, memory: GuestMemory): PvhBoot {
  return defined({
    kind: 'hvm_start_info',
    hvmStartInfo: json.optional('hvmStartInfo', (at) => openPaddr(at.at('paddr'), memory)),
    hvmParams: openParams(json),
  })
}

const openParams = (json: JsonValue): HvmParam[] =>
  json
    .at('hvmParams')
    .list()
    .map((param) => ({ index: param.at('index').integer(0, U32_MAX), value: param.at('value').hex() }))

/** The guest's memory has gaps; the reader of a structure refuses one that reaches into a gap. */
function openPaddr(json: JsonValue, memory: GuestMemory): number {
  const paddr = Number(json.hex(32))
  return memory.has(pfnOf(paddr)) ? paddr : json.refuse('an address in the memory')
}

const frame = (json: JsonValue, memory: GuestMemory): number => json.integer(0, memory.endPfn - 1)

const openStartInfo = (json: JsonValue, memory: GuestMemory): PvBoot['startInfo'] => ({
  pfn: frame(json.at('pfn'), memory),
  vaddr: json.at('vaddr').hex(),
})

function openPageTables(json: JsonValue, memory: GuestMemory): PageTableFrames {
  return {
    top: frame(json.at('top'), memory),
    pages: json.at('pages').integer(1, FRAMES_MAX),
    runs: json
      .at('runs')
      .list()
      .map((run) => ({
        level: run.at('level').integer(1, 4),
        pfn: frame(run.at('pfn'), memory),
        pages: run.at('pages').integer(1, FRAMES_MAX),
        ...defined({ pinned: run.optional('pinned', (at) => at.boolean() || undefined) }),
      })),
  }
}

function openPv(json: JsonValue, memory: GuestMemory): PvBoot {
  const shared = (at: JsonValue) => ({
    pfn: frame(at.at('pfn'), memory),
    evtchn: at.at('evtchn').integer(0, U32_MAX),
  })
  return defined({
    kind: 'start_info',
    startInfo: openStartInfo(json.at('startInfo'), memory),
    sharedInfo: json.at('sharedInfo').base64(PAGE_SIZE),
    sharedInfoMfn: Number(json.at('sharedInfoMfn').hex(40)),
    xenstore: json.optional('xenstore', shared),
    console: json.optional('console', shared),
    grants: json
      .at('grants')
      .list()
      .map((grant) => ({
        ref: grant.at('ref').integer(0, U32_MAX),
        domid: grant.at('domid').integer(0, 0xffff),
        pfn: frame(grant.at('pfn'), memory),
        mfn: grant.at('mfn').integer(0, FRAMES_MAX - 1),
      })),
    pageTables: openPageTables(json.at('pageTables'), memory),
    features: json
      .at('features')
      .list(32)
      .map((name) => name.oneOf(...(Object.keys(XENFEAT) as FeatureName[]))),
    hypercallPage: json.optional('hypercallPage', (at) => openHypercallPage(at, memory)),
  })
}

function openHypercallPage(json: JsonValue, memory: GuestMemory): number {
  const pfn = frame(json, memory)
  return memory.has(pfn) ? pfn : json.refuse('a frame that the guest has')
}
