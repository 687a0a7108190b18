/**
 * sysctl: the requests by which a toolstack asks about the host.
 *
 * Source: xen/include/public/sysctl.h of the stable branches 4.14 to 4.22; test/peer/domctl.test.ts.
 * Gotcha: its versions are not those of domctl. The layouts here are the same in all of them, since only the start of
 * physinfo is declared.
 */
import { bytes, pad, struct, u16, u32, u64 } from './struct.js'
import type { XenRelease } from './xen-release.js'

/** XEN_SYSCTL_*: the requests that the library makes. */
export const SYSCTL = { physinfo: 3, getdomaininfolist: 6, get_cpu_policy: 29 } as const
/** A request, by its name in the headers. */
export type SysctlName = keyof typeof SYSCTL

/** struct xen_sysctl, whose last member `u` depends on the request. */
export const Sysctl = struct('xen_sysctl', 136, { cmd: u32, interface_version: u32, u: bytes(128) })

/** XEN_SYSCTL_INTERFACE_VERSION of each release. */
export const SYSCTL_VERSIONS: Readonly<Record<XenRelease, number>> = {
  '4.14': 0x13,
  '4.15': 0x13,
  '4.16': 0x14,
  '4.17': 0x15,
  '4.18': 0x15,
  '4.19': 0x15,
  '4.20': 0x15,
  '4.21': 0x16,
  '4.22': 0x16,
}

/** The start of struct xen_sysctl_physinfo. */
export const PhysInfoStart = struct('xen_sysctl_physinfo', 32, {
  threads_per_core: u32,
  cores_per_socket: u32,
  nr_cpus: u32,
  max_cpu_id: u32,
  nr_nodes: u32,
  max_node_id: u32,
  cpu_khz: u32,
  capabilities: u32,
})
/** XEN_SYSCTL_PHYSCAP_hap: the processor translates the addresses of HVM and PVH guests. */
export const PHYSCAP_HAP = 1 << 3

/** `buffer` is the address of `max_domains` times struct xen_domctl_getdomaininfo. */
export const DomainInfoList = struct('xen_sysctl_getdomaininfolist', 24, {
  first_domain: u16,
  _pad: pad(2),
  max_domains: u32,
  buffer: u64,
  num_domains: u32,
  _pad1: pad(4),
})

/** XEN_SYSCTL_cpu_policy_*: the policies of a host. */
export const HOST_POLICY = { host: 1, pv: 4, pvh: 5 } as const
/** With both addresses 0 it returns the most leaves and MSRs of any policy. */
export const SysctlCpuPolicy = struct('xen_sysctl_cpu_policy', 32, {
  index: u32,
  nr_leaves: u32,
  nr_msrs: u32,
  _rsvd: pad(4),
  leaves: u64,
  msrs: u64,
})
