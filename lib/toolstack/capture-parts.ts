/**
 * The parts of a captured domain that its toolstack knows, or that all types of guest have.
 *
 * Source: Xen tools/libs/light/libxl_domain.c for where libxl keeps the type of a domain, and for the values that change
 * while it runs (libxl_retrieve_domain_configuration); docs/specs/libxc-migration-stream.pandoc for the records.
 * Gotcha: libxl's file about a domain is of the time when it was made. Its name and its memory may have changed.
 */
import { X86TscInfo } from '../abi/save-stream.js'
import { defined } from '../defined.js'
import type { SavedRecord, SavedState } from '../guest/domain.js'
import { configText, type LibxlSettings, merge } from '../guest/libxl-config.js'
import { readConfig } from '../snapshot/domain-config.js'
import type { DomainInfo, Hypervisor } from './hypervisor.js'
import { nameOf } from './store-nodes.js'

/** The content of a Domain in addition to memory and vcpus. */
export interface CaptureParts {
  readonly type: 'pv' | 'pvh' | 'hvm'
  readonly name: string
  /** In bytes, if known. */
  readonly maxmem: number | undefined
  readonly saved: SavedState
}

/** Returns the parts; they do not change while the guest stands still. */
export async function readParts(xen: Hypervisor, info: DomainInfo): Promise<CaptureParts> {
  const { domid, uuid } = info
  const at = async (path: string) => xen.store.read(path)
  const name = (await nameOf(xen.store, domid)) ?? ''
  const kib = async (node: string) => Number((await at(`/local/domain/${domid}/memory/${node}`)) || 0)
  const file = await xen.userdata(domid, uuid, 'libxl-json')
  const target = await kib('target')
  const config = file === undefined ? undefined : currentConfig(file, name, uuid, target)
  const settings = config === undefined ? undefined : readConfig(config)
  return {
    type: info.hvm ? await translatedType(xen, domid) : 'pv',
    name,
    maxmem: settings?.maxmem ?? ((await kib('static-max')) * 1024 || undefined),
    saved: { ...defined({ config }), records: await staticRecords(xen, info) },
  }
}

/** PVH, unless libxl says HVM, or the domain has a device model. */
async function translatedType({ store }: Hypervisor, domid: number): Promise<'pvh' | 'hvm'> {
  const said = await store.read(`/libxl/${domid}/type`)
  if (said === 'pvh' || said === 'hvm') return said
  return (await store.list(`/local/domain/0/device-model/${domid}`)).length > 0 ? 'hvm' : 'pvh'
}

function currentConfig(text: string, name: string, uuid: string, target: number): string {
  readConfig(text)
  const now: LibxlSettings = {
    c_info: { uuid, ...(name !== '' && { name }) },
    ...(target > 0 && { b_info: { target_memkb: target } }),
  }
  return configText(merge(JSON.parse(text) as LibxlSettings, now))
}

/** Returns the processor of the guest. */
async function staticRecords(xen: Hypervisor, { domid }: DomainInfo): Promise<SavedRecord[]> {
  const { leaves, msrs } = await xen.cpuPolicy(domid)
  return [
    { name: 'X86_CPUID_POLICY', body: leaves.slice() },
    { name: 'X86_MSR_POLICY', body: msrs.slice() },
  ].filter(({ body }) => body.length > 0)
}

/** Returns the time of a guest that has stopped. */
export async function tscRecord(xen: Hypervisor, { domid }: DomainInfo): Promise<SavedRecord> {
  return { name: 'X86_TSC_INFO', body: X86TscInfo.encode({ ...(await xen.tscInfo(domid)), reserved: 0 }) }
}
