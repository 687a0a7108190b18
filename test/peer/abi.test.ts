/**
 * Compares our structs with Xen's public headers through a C compiler: every field's offset, every struct's size.
 *
 * Source: Debian's libxen-dev (xen/foreign/x86_32.h and x86_64.h), gcc.
 * Gotcha: the foreign headers give both ABIs to one 64-bit compiler, under names with a suffix.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { SharedInfo32, SharedInfo64, VcpuInfo32, VcpuInfo64 } from '../../lib/abi/shared-info.js'
import { StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { findCommand, findFile } from './command.js'
import { requirePeer } from './require-peer.js'

/** The headers' names for fields that we name differently. */
const C_NAMES: Readonly<Record<string, string>> = {
  console_mfn: 'console.domU.mfn',
  console_evtchn: 'console.domU.evtchn',
  max_pfn: 'arch.max_pfn',
  pfn_to_mfn_frame_list_list: 'arch.pfn_to_mfn_frame_list_list',
  nmi_reason: 'arch.nmi_reason',
  p2m_cr3: 'arch.p2m_cr3',
  p2m_vaddr: 'arch.p2m_vaddr',
  p2m_generation: 'arch.p2m_generation',
  cr2: 'arch.cr2',
}

const STRUCTS = [
  ['start_info_x86_64', StartInfo64],
  ['start_info_x86_32', StartInfo32],
  ['shared_info_x86_64', SharedInfo64],
  ['shared_info_x86_32', SharedInfo32],
  ['vcpu_info_x86_64', VcpuInfo64],
  ['vcpu_info_x86_32', VcpuInfo32],
  ['vcpu_guest_context_x86_64', VcpuGuestContext64],
  ['vcpu_guest_context_x86_32', VcpuGuestContext32],
] as const

const REGS_64 = [
  'rip',
  'cs',
  'saved_upcall_mask',
  'rflags',
  'rsp',
  'ss',
  'gs',
  'rsi',
  'r15',
  'error_code',
  'entry_vector',
]
const REGS_32 = [
  'eip',
  'cs',
  'saved_upcall_mask',
  'eflags',
  'esp',
  'ss',
  'gs',
  'esi',
  'ebx',
  'error_code',
  'entry_vector',
]

/** Returns the field in C; wc_sec_hi is inside arch only for 32-bit guests. */
function cName(struct: string, field: string): string {
  if (field === 'wc_sec_hi') return struct.endsWith('32') ? 'arch.wc_sec_hi' : 'wc_sec_hi'
  return C_NAMES[field] ?? field
}

function fieldsOf(struct: string, names: readonly string[]): string[] {
  if (!struct.startsWith('vcpu_guest_context')) return [...names]
  const registers = (struct.endsWith('64') ? REGS_64 : REGS_32).map((register) => `user_regs.${register}`)
  return [...names, ...registers]
}

t.test('sizes and offsets are those of the C structs', async (t) => {
  if (!(await requirePeer(t, () => findFile('/usr/include/xen/foreign/x86_64.h', 'libxen-dev')))) return
  if (!(await requirePeer(t, () => findCommand('gcc', 'gcc')))) return
  const folder = mkdtempSync(path.join(tmpdir(), 'xdb-abi-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const lines = STRUCTS.flatMap(([name, struct]) => [
    `P("${name}", sizeof(struct ${name}));`,
    ...fieldsOf(name, struct.fieldNames).map((f) => `P("${name}.${f}", offsetof(struct ${name}, ${cName(name, f)}));`),
  ])
  writeFileSync(
    path.join(folder, 'abi.c'),
    `#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/foreign/x86_32.h>
#include <xen/foreign/x86_64.h>
#define P(n, v) printf("%s %zu\\n", n, (size_t)(v))
int main(void) { ${lines.join('\n')} return 0; }
`,
  )
  execFileSync('gcc', ['-o', 'abi', 'abi.c'], { cwd: folder })
  const theirs = new Map(
    execFileSync(path.join(folder, 'abi'), { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  )
  for (const [name, struct] of STRUCTS) {
    t.equal(String(struct.size), theirs.get(name), `sizeof ${name}`)
    for (const field of fieldsOf(name, struct.fieldNames)) {
      t.equal(String(struct.offsetOf(field)), theirs.get(`${name}.${field}`), `${name}.${field}`)
    }
  }
})
