/**
 * vcpu_guest_context: its size, its fields, and a context with more than a Vcpu can express.
 *
 * Source: xen/include/public/arch-x86/xen.h.
 * Gotcha: a 32-bit context has no r8 to r15, so these read as 0.
 */
import t from 'tap'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { decodePvContext, encodePvContext, pvContextBytes } from '../../lib/guest/pv-context.js'
import { registers, waitingPvVcpu } from '../../lib/guest/vcpu.js'

t.test('a vcpu without the state of a PV guest has zeros for it', async (t) => {
  const { pv, ...vcpu } = { ...waitingPvVcpu(3), registers: registers({ rax: 5n, rip: 0x1000n }), cr3: 0x7000n }
  t.ok(pv)
  for (const abi of ['x86_64', 'x86_32p'] as const) {
    const bytes = encodePvContext(vcpu, abi)
    t.equal(bytes.length, pvContextBytes(abi))
    const back = decodePvContext(bytes, abi, 3)
    t.match(back, { id: 3, online: false, cr3: 0x7000n, registers: { rax: 5n, rip: 0x1000n, r8: 0n } })
    t.same(back.pv, { flags: 0, kernelSs: 0, kernelSp: 0n, vmAssist: 0 })
  }
})

t.test('a context with more than a Vcpu has is kept, and written again', async (t) => {
  for (const [abi, bytes] of [
    ['x86_64', VcpuGuestContext64.encode({ ...VcpuGuestContext64.zero, gdt_ents: 7n })],
    ['x86_32p', VcpuGuestContext32.encode({ ...VcpuGuestContext32.zero, gdt_ents: 7 })],
  ] as const) {
    const vcpu = decodePvContext(bytes, abi, 0)
    t.same(vcpu.pv?.context, bytes)
    t.same(encodePvContext(vcpu, abi), bytes)
  }
})
