/**
 * Domains of a live Xen: made, listed, paused and destroyed.
 *
 * Source: xen/include/public/domctl.h; tools/libs/light/libxl_create.c (libxl__domain_make) and libxl_x86.c
 * (libxl__arch_domain_prepare_config) for the flags of a guest of xl.
 * Gotcha: before 4.18, getdomaininfo answers with the next domain if no domain has that number.
 */
import {
  AddressSize,
  ALTP2M_SINCE,
  CDF_HAP,
  CDF_HVM,
  CDF_NESTED_VIRT,
  DEFAULT_FRAMES,
  DOMINF_BLOCKED,
  DOMINF_DYING,
  DOMINF_HVM_GUEST,
  DOMINF_PAUSED,
  DOMINF_RUNNING,
  DOMINF_SHUTDOWN,
  DOMINF_SHUTDOWN_MASK,
  DOMINF_SHUTDOWN_SHIFT,
  DomainInfoStart,
  EMU_LAPIC,
  INVALID_MAX_VCPU_ID,
  MaxMem,
  MaxVcpus,
  MISC_FLAGS_SINCE,
  MSR_RELAXED,
  NESTED_VIRT_SINCE,
  PAGING_MEMPOOL_SINCE,
  PagingMempool,
  SHADOW_OP_SET_ALLOCATION,
  ShadowOp,
  TscInfo,
} from '../abi/domctl.js'
import { DomainInfoList, PHYSCAP_HAP, PhysInfoStart } from '../abi/sysctl.js'
import type { XenRelease } from '../abi/xen-release.js'
import { toHex } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { DomainInfo, Hypervisor, NewDomain } from '../toolstack/hypervisor.js'
import { shown } from '../units.js'
import type { Hypercalls } from './hypercalls.js'
import { Refused } from './refused.js'

/** createdomain takes this number as any free one. */
const ANY_DOMID = 0
/** Domains asked for in one request. */
const DOMAINS_AT_ONCE = 256

type DomainMethods = Pick<
  Hypervisor,
  | ('createDomain' | 'setAddressSize' | 'setMaxVcpus' | 'setMaxMemory' | 'setPagingPool' | 'setTscMode' | 'tscInfo')
  | ('destroyDomain' | 'listDomains' | 'domainInfo' | 'pauseDomain' | 'unpauseDomain' | 'resumeDomain')
>

/** Returns the methods about domains as a whole. */
export function domainMethods(xen: Hypercalls): DomainMethods {
  const physinfo = new Uint8Array(PhysInfoStart.size)
  xen.sysctl('physinfo', physinfo)
  const hasHap = (PhysInfoStart.decode(physinfo).capabilities & PHYSCAP_HAP) !== 0
  return {
    createDomain: (domain) => xen.domctl('createdomain', ANY_DOMID, encodeNewDomain(xen, domain, hasHap)),
    setAddressSize: (domid, size) => void xen.domctl('set_address_size', domid, AddressSize.encode({ size })),
    setMaxVcpus: (domid, max) => void xen.domctl('max_vcpus', domid, MaxVcpus.encode({ max })),
    setMaxMemory: (domid, kib) => void xen.domctl('max_mem', domid, MaxMem.encode({ max_memkb: BigInt(kib) })),
    setPagingPool(domid, size) {
      if (xen.domctls.version >= PAGING_MEMPOOL_SINCE) {
        xen.domctl('set_paging_mempool_size', domid, PagingMempool.encode({ size: BigInt(size) }))
      } else {
        const request = { ...ShadowOp.zero, op: SHADOW_OP_SET_ALLOCATION, mb: Math.ceil(size / 2 ** 20) }
        xen.domctl('shadow_op', domid, ShadowOp.encode(request))
      }
    },
    setTscMode: (domid, mode) =>
      void xen.domctl('settscinfo', domid, TscInfo.encode({ ...TscInfo.zero, tsc_mode: mode })),
    tscInfo(domid) {
      const u = new Uint8Array(TscInfo.size)
      xen.domctl('gettscinfo', domid, u)
      const { tsc_mode, gtsc_khz, elapsed_nsec, incarnation } = TscInfo.decode(u)
      return { mode: tsc_mode, khz: gtsc_khz, nsec: elapsed_nsec, incarnation }
    },
    destroyDomain: (domid) => xen.longDomctl('destroydomain', domid),
    listDomains: () => listDomains(xen),
    domainInfo(domid) {
      const u = new Uint8Array(xen.domctls.domainInfoBytes)
      try {
        xen.domctl('getdomaininfo', domid, u)
      } catch (error) {
        if (error instanceof Refused && error.errno === 'ESRCH') return undefined
        throw error
      }
      const info = decodeDomainInfo(u)
      return info.domid === domid ? info : undefined
    },
    pauseDomain: (domid) => void xen.domctl('pausedomain', domid),
    unpauseDomain: (domid) => void xen.domctl('unpausedomain', domid),
    resumeDomain: (domid) => void xen.domctl('resumedomain', domid),
  }
}

/** Returns struct xen_domctl_createdomain, as libxl fills it for a guest without devices. */
function encodeNewDomain(xen: Hypercalls, domain: NewDomain, hasHap: boolean): Uint8Array {
  const { type, maxGrantFrames = DEFAULT_FRAMES, maxMaptrackFrames = DEFAULT_FRAMES } = domain
  if (domain.nestedVirtualization) requireVersion(xen, NESTED_VIRT_SINCE, '4.15', 'nested virtualization')
  if (domain.msrRelaxed) requireVersion(xen, MISC_FLAGS_SINCE, '4.15', 'msr_relaxed')
  if (domain.altp2m) requireVersion(xen, ALTP2M_SINCE, '4.19', 'altp2m')
  const flags = CDF_HVM | (hasHap ? CDF_HAP : 0) | (domain.nestedVirtualization ? CDF_NESTED_VIRT : 0)
  return xen.domctls.createDomain.encode({
    ssidref: 0,
    handle: decodeUuid(domain.uuid),
    flags: type === 'pv' ? 0 : flags,
    iommu_opts: 0,
    max_vcpus: domain.vcpus,
    max_evtchn_port: domain.maxEventChannel,
    max_grant_frames: maxGrantFrames,
    max_maptrack_frames: maxMaptrackFrames,
    grant_opts: domain.maxGrantVersion,
    altp2m_opts: domain.altp2m,
    vmtrace_size: 0,
    cpupool_id: 0,
    emulation_flags: type === 'pv' ? 0 : EMU_LAPIC,
    misc_flags: domain.msrRelaxed ? MSR_RELAXED : 0,
  })
}

/** @throws DomainBuilderError `bad-config` */
function requireVersion(xen: Hypercalls, since: number, release: XenRelease, what: string): void {
  if (xen.domctls.version >= since) return
  throw new DomainBuilderError('bad-config', `a new domain on Xen ${xen.release} cannot have ${what}`, {
    expected: `Xen ${release} or newer`,
  })
}

/** @throws DomainBuilderError `bad-config` */
function decodeUuid(uuid: string): Uint8Array {
  if (!/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(uuid)) {
    throw new DomainBuilderError('bad-config', 'the uuid is invalid', {
      expected: '8-4-4-4-12 hexadecimal digits',
      found: shown(uuid),
    })
  }
  return Uint8Array.from(uuid.replaceAll('-', '').match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))
}

function listDomains(xen: Hypercalls): DomainInfo[] {
  const bytes = xen.domctls.domainInfoBytes
  const found: DomainInfo[] = []
  for (;;) {
    const buffer = new Uint8Array(DOMAINS_AT_ONCE * bytes)
    const count = xen.withBuffer(buffer, (address) => {
      const first = (found.at(-1)?.domid ?? -1) + 1
      const request = { ...DomainInfoList.zero, first_domain: first, max_domains: DOMAINS_AT_ONCE, buffer: address }
      const u = DomainInfoList.encode(request)
      xen.sysctl('getdomaininfolist', u)
      return DomainInfoList.decode(u).num_domains
    })
    for (let i = 0; i < count; i++) found.push(decodeDomainInfo(buffer.subarray(i * bytes, (i + 1) * bytes)))
    if (count < DOMAINS_AT_ONCE) return found
  }
}

function decodeDomainInfo(bytes: Uint8Array): DomainInfo {
  const info = DomainInfoStart.decode(bytes)
  const has = (flag: number): boolean => (info.flags & flag) !== 0
  return {
    domid: info.domain,
    uuid: toHex(info.handle).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    hvm: has(DOMINF_HVM_GUEST),
    dying: has(DOMINF_DYING),
    paused: has(DOMINF_PAUSED),
    ...(has(DOMINF_SHUTDOWN) ? { shutdown: (info.flags >>> DOMINF_SHUTDOWN_SHIFT) & DOMINF_SHUTDOWN_MASK } : {}),
    pages: Number(info.tot_pages),
    maxPages: Number(info.max_pages),
    sharedInfoFrame: Number(info.shared_info_frame),
    maxVcpuId: info.max_vcpu_id === INVALID_MAX_VCPU_ID ? -1 : info.max_vcpu_id,
    onlineVcpus: info.nr_online_vcpus,
    running: has(DOMINF_RUNNING),
    blocked: has(DOMINF_BLOCKED),
    cpuTime: info.cpu_time,
  }
}
