/**
 * Compares the requests to Xen with the public headers of each release that is here: sizes, offsets and numbers.
 *
 * Source: Debian's libxen-dev, the installed one and those of `npm run libxenguests`; gcc.
 * Gotcha: the headers are compiled with this machine's C library, since only Xen's own types are in these structs.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as domctl from '../../lib/abi/domctl.js'
import {
  EVTCHNOP,
  EVTCHNSTAT,
  EvtchnAllocUnbound,
  EvtchnBindIpi,
  EvtchnBindVirq,
  VIRQ_TIMER,
} from '../../lib/abi/event-channel.js'
import {
  GNTST_GENERAL_ERROR,
  GNTTABOP,
  GnttabQuerySize,
  GnttabSetupTable,
  GrantEntry,
  GTF_PERMIT_ACCESS,
} from '../../lib/abi/grant-table.js'
import { HVMOP, XenHvmParam } from '../../lib/abi/hvm-params.js'
import * as hypercall from '../../lib/abi/hypercall.js'
import * as memoryOp from '../../lib/abi/memory-op.js'
import { MMU, MMUEXT, MMUEXT_PIN, MmuextOp, MmuUpdate } from '../../lib/abi/mmuext.js'
import * as sysctl from '../../lib/abi/sysctl.js'
import { IretContext64 } from '../../lib/abi/vcpu-context.js'
import type { XenRelease } from '../../lib/abi/xen-release.js'
import { XENSTORE_PAYLOAD_MAX, XS, XsdSockmsg } from '../../lib/abi/xs-wire.js'
import { findCommand, findFile } from './command.js'
import { findLibxenguest, SUITES } from './libxenguests.js'
import { requirePeer } from './require-peer.js'

interface Layout {
  readonly size: number
  readonly fieldNames: readonly string[]
  offsetOf(field: string): number
}

/** Our layouts by the structs of the headers, `struct` left out. */
const STRUCTS: Readonly<Record<string, Layout>> = {
  xen_domctl: domctl.Domctl,
  xen_domctl_getpageframeinfo3: domctl.GetPageFrameInfo3,
  xen_domctl_max_mem: domctl.MaxMem,
  xen_domctl_max_vcpus: domctl.MaxVcpus,
  xen_domctl_address_size: domctl.AddressSize,
  xen_domctl_vcpucontext: domctl.VcpuContext,
  xen_domctl_getvcpuinfo: domctl.GetVcpuInfo,
  xen_domctl_hypercall_init: domctl.HypercallInit,
  xen_domctl_hvmcontext: domctl.HvmContext,
  xen_domctl_tsc_info: domctl.TscInfo,
  xen_domctl_shadow_op: domctl.ShadowOp,
  xen_domctl_vcpuextstate: domctl.VcpuExtState,
  xen_domctl_vcpu_msrs: domctl.VcpuMsrs,
  xen_domctl_cpu_policy: domctl.CpuPolicy,
  xen_sysctl: sysctl.Sysctl,
  xen_sysctl_getdomaininfolist: sysctl.DomainInfoList,
  xen_sysctl_cpu_policy: sysctl.SysctlCpuPolicy,
  xen_memory_reservation: memoryOp.MemoryReservation,
  xen_foreign_memory_map: memoryOp.ForeignMemoryMap,
  xen_pod_target: memoryOp.PodTarget,
  evtchn_alloc_unbound: EvtchnAllocUnbound,
  evtchn_bind_virq: EvtchnBindVirq,
  evtchn_bind_ipi: EvtchnBindIpi,
  mmuext_op: MmuextOp,
  mmu_update: MmuUpdate,
  gnttab_setup_table: GnttabSetupTable,
  gnttab_query_size: GnttabQuerySize,
  iret_context: IretContext64,
  xen_hvm_param: XenHvmParam,
  grant_entry_v1: GrantEntry,
  xsd_sockmsg: XsdSockmsg,
}
/** Layouts of only the start of a struct. */
const STARTS: Readonly<Record<string, Layout>> = {
  xen_domctl_getdomaininfo: domctl.DomainInfoStart,
  xen_domctl_ext_vcpucontext: domctl.ExtVcpuContextStart,
  xen_sysctl_physinfo: sysctl.PhysInfoStart,
}
/** The headers' names for fields that we name differently. */
const C_NAMES: Readonly<Record<string, string>> = {
  'xen_domctl_createdomain.emulation_flags': 'arch.emulation_flags',
  'xen_domctl_createdomain.misc_flags': 'arch.misc_flags',
  'xen_domctl_shadow_op.fault_count': 'stats.fault_count',
  'xen_domctl_shadow_op.dirty_count': 'stats.dirty_count',
  'xen_foreign_memory_map.nr_entries': 'map.nr_entries',
  'xen_foreign_memory_map.buffer': 'map.buffer',
  'mmuext_op.mfn': 'arg1.mfn',
}

const prefixed = (prefix: string, numbers: Readonly<Record<string, number>>): [string, number][] =>
  Object.entries(numbers).map(([name, value]) => [`${prefix}${name}`, value])
/** Numbers of every release, by their names in the headers. */
const { set_paging_mempool_size, ...DOMCTLS } = domctl.DOMCTL
const NUMBERS: Readonly<Record<string, number>> = Object.fromEntries([
  ...prefixed('XEN_DOMCTL_', DOMCTLS),
  ...prefixed('XEN_SYSCTL_', sysctl.SYSCTL),
  ...prefixed('XENMEM_', memoryOp.XENMEM),
  ...prefixed('EVTCHNOP_', EVTCHNOP),
  ...prefixed('HVMOP_', HVMOP),
  ...prefixed('__HYPERVISOR_', hypercall.HYPERCALL),
  ...prefixed('XENVER_', hypercall.XENVER),
  ...prefixed('SCHEDOP_', hypercall.SCHEDOP),
  ...prefixed('SHUTDOWN_', hypercall.SHUTDOWN),
  ...prefixed('VCPUOP_', hypercall.VCPUOP),
  ...prefixed('SEGBASE_', hypercall.SEGBASE),
  ...prefixed('PHYSDEVOP_', hypercall.PHYSDEVOP),
  ...prefixed('CALLBACKOP_', hypercall.CALLBACKOP),
  ...prefixed('CALLBACKTYPE_', hypercall.CALLBACKTYPE),
  ...prefixed('EVTCHNSTAT_', EVTCHNSTAT),
  ...prefixed('GNTTABOP_', GNTTABOP),
  ...prefixed('MMUEXT_', MMUEXT),
  ...prefixed('MMU_', MMU),
  ...Object.entries(XS).map(([name, value]) => [`XS_${name.toUpperCase()}`, value]),
  ...Object.entries(MMUEXT_PIN).map(([level, value]) => [`MMUEXT_PIN_L${level}_TABLE`, value]),
  ...Object.entries({
    XENVER_version: hypercall.XENVER_VERSION,
    CONSOLEIO_write: hypercall.CONSOLEIO_WRITE,
    CONSOLEIO_read: hypercall.CONSOLEIO_READ,
    VIRQ_TIMER,
    '-GNTST_general_error': -GNTST_GENERAL_ERROR,
    XEN_DOMCTL_CDF_hvm: domctl.CDF_HVM,
    XEN_DOMCTL_CDF_hap: domctl.CDF_HAP,
    XEN_X86_EMU_LAPIC: domctl.EMU_LAPIC,
    XEN_DOMINF_dying: domctl.DOMINF_DYING,
    XEN_DOMINF_hvm_guest: domctl.DOMINF_HVM_GUEST,
    XEN_DOMINF_shutdown: domctl.DOMINF_SHUTDOWN,
    XEN_DOMINF_paused: domctl.DOMINF_PAUSED,
    XEN_DOMINF_blocked: domctl.DOMINF_BLOCKED,
    XEN_DOMINF_running: domctl.DOMINF_RUNNING,
    XEN_DOMINF_shutdownmask: domctl.DOMINF_SHUTDOWN_MASK,
    XEN_DOMINF_shutdownshift: domctl.DOMINF_SHUTDOWN_SHIFT,
    XEN_INVALID_MAX_VCPU_ID: domctl.INVALID_MAX_VCPU_ID,
    XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION: domctl.SHADOW_OP_SET_ALLOCATION,
    XEN_SYSCTL_PHYSCAP_hap: sysctl.PHYSCAP_HAP,
    XEN_SYSCTL_cpu_policy_host: sysctl.HOST_POLICY.host,
    XEN_SYSCTL_cpu_policy_pv_default: sysctl.HOST_POLICY.pv,
    XEN_SYSCTL_cpu_policy_hvm_default: sysctl.HOST_POLICY.pvh,
    XENMEMF_populate_on_demand: memoryOp.XENMEMF.populate_on_demand,
    'XENMEMF_address_bits(32)': memoryOp.XENMEMF.below_4gib,
    XENMEM_resource_grant_table: memoryOp.RESOURCE_GRANT_TABLE,
    XENMEM_resource_grant_table_id_shared: memoryOp.GRANT_TABLE_SHARED,
    GTF_permit_access: GTF_PERMIT_ACCESS,
    'sizeof(xen_extraversion_t)': hypercall.XENVER_BYTES.extraversion,
    'sizeof(struct xen_compile_info)': hypercall.XENVER_BYTES.compile_info,
    'sizeof(xen_capabilities_info_t)': hypercall.XENVER_BYTES.capabilities,
    'sizeof(xen_changeset_info_t)': hypercall.XENVER_BYTES.changeset,
    'sizeof(xen_domain_handle_t)': hypercall.XENVER_BYTES.guest_handle,
    'sizeof(xen_commandline_t)': hypercall.XENVER_BYTES.commandline,
    XENSTORE_PAYLOAD_MAX,
    'sizeof(xen_domctl_vcpu_msr_t)': domctl.VCPU_MSR_BYTES,
    'sizeof(domid_t)': memoryOp.MemoryDomain.size,
    'sizeof(xen_msr_entry_t)': domctl.MSR_ENTRY_BYTES,
  }),
])

/** Returns expressions of C, each with our value. */
function expected(version: number): Map<string, number> {
  const known = domctl.DOMCTL_INTERFACES.find((one) => one.version === version)
  if (known === undefined) throw new Error(`domctl version ${version} is unknown`)
  const since = (first: number, entries: Readonly<Record<string, number>>) => (version >= first ? entries : {})
  const out = new Map(
    Object.entries({
      ...NUMBERS,
      ...since(domctl.PAGING_MEMPOOL_SINCE, { XEN_DOMCTL_set_paging_mempool_size: set_paging_mempool_size }),
      ...since(domctl.NESTED_VIRT_SINCE, { XEN_DOMCTL_CDF_nested_virt: domctl.CDF_NESTED_VIRT }),
      ...since(domctl.MISC_FLAGS_SINCE, { XEN_X86_MSR_RELAXED: domctl.MSR_RELAXED }),
      'sizeof(struct xen_domctl_getdomaininfo)': known.domainInfoBytes,
    }),
  )
  const whole: Record<string, Layout> = { ...STRUCTS, xen_domctl_createdomain: known.createDomain }
  if (version >= domctl.PAGING_MEMPOOL_SINCE) whole.xen_domctl_paging_mempool = domctl.PagingMempool
  for (const [name, { size }] of Object.entries(whole)) out.set(`sizeof(struct ${name})`, size)
  for (const [name, layout] of Object.entries({ ...whole, ...STARTS })) {
    for (const field of layout.fieldNames) {
      out.set(`offsetof(struct ${name}, ${C_NAMES[`${name}.${field}`] ?? field})`, layout.offsetOf(field))
    }
  }
  return out
}

/** Compiles a program with the headers in a directory, and returns the value of each expression. */
function valuesOf(headers: string, expressions: readonly string[]): Map<string, number> {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-domctl-'))
  try {
    mkdirSync(join(folder, 'include'))
    symlinkSync(headers, join(folder, 'include/xen'))
    const names = ['xen', 'domctl', 'sysctl', 'memory', 'event_channel', 'grant_table', 'version', 'sched', 'vcpu']
    writeFileSync(
      join(folder, 'domctl.c'),
      `#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define __XEN_TOOLS__ 1
${[...names, 'physdev', 'callback', 'hvm/hvm_op', 'hvm/params', 'io/xs_wire'].map((name) => `#include <xen/${name}.h>`).join('\n')}
int main(void) {
${expressions.map((expression) => `printf("%llu\\n", (unsigned long long)(${expression}));`).join('\n')}
return 0; }
`,
    )
    execFileSync('gcc', ['-Iinclude', '-o', 'domctl', 'domctl.c'], { cwd: folder })
    const lines = execFileSync(join(folder, 'domctl'), { encoding: 'utf8' }).trim().split('\n')
    return new Map(expressions.map((expression, i) => [expression, Number(lines[i])]))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Compares everything, and the versions of that release. */
function compare(t: Test, headers: string, release?: XenRelease): void {
  const [domctlVersion, sysctlVersion] = ['XEN_DOMCTL_INTERFACE_VERSION', 'XEN_SYSCTL_INTERFACE_VERSION']
  const versions = valuesOf(headers, [domctlVersion, sysctlVersion])
  const version = versions.get(domctlVersion) ?? 0
  t.ok(Object.values(sysctl.SYSCTL_VERSIONS).includes(versions.get(sysctlVersion) ?? 0), 'a known version of sysctl')
  if (release !== undefined) {
    t.equal(version, domctl.DOMCTL_VERSIONS[release], 'the version of domctl')
    t.equal(versions.get(sysctlVersion), sysctl.SYSCTL_VERSIONS[release], 'the version of sysctl')
  }
  const values = expected(version)
  const theirs = valuesOf(headers, [...values.keys()])
  for (const [expression, value] of values) t.equal(value, theirs.get(expression), expression)
}

t.test('the installed Xen', async (t) => {
  const headers = '/usr/include/xen'
  if (!(await requirePeer(t, () => findFile(join(headers, 'domctl.h'), 'libxen-dev')))) return
  if (!(await requirePeer(t, () => findCommand('gcc', 'gcc')))) return
  compare(t, headers)
})

for (const suite of SUITES) {
  t.test(`the Xen of Debian's ${suite}`, async (t) => {
    const peer = await requirePeer(t, async () => findLibxenguest(suite))
    if (!peer || !(await requirePeer(t, () => findCommand('gcc', 'gcc')))) return
    compare(t, join(peer.root, 'usr/include/xen'), peer.release)
  })
}
