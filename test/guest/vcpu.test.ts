/**
 * Vcpus that wait: every register is zero, at every width, until the guest starts them.
 *
 * Source: lib/guest/vcpu.ts; xen/include/public/vcpu.h, VCPUOP_initialise.
 * Gotcha: a waiting vcpu is written into snapshots like any other, so a register left over would reach a file.
 */
import t from 'tap'
import {
  HVM_FILE_MAGIC,
  HVM_FILE_VERSION,
  HVM_SAVE_CODE,
  HvmHwCpu,
  HvmSaveDescriptor,
  HvmSaveHeader,
} from '../../lib/abi/hvm-save.js'
import { decodeHvmContext } from '../../lib/guest/hvm-context.js'
import { bootedBy, GENERAL_REGISTERS, inRealMode, registers, waitingPvVcpu, waitingVcpu } from '../../lib/guest/vcpu.js'

const ZERO = { ...Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, 0n])), rip: 0n, rflags: 0n }
const NONE = { selector: 0 }
const WAITING = {
  online: false,
  registers: ZERO,
  segments: { cs: NONE, ss: NONE, ds: NONE, es: NONE, fs: NONE, gs: NONE },
  ...{ cr0: 0n, cr3: 0n, cr4: 0n, efer: 0n, dr6: 0n, dr7: 0n },
}
const PV = { flags: 0, kernelSs: 0, kernelSp: 0n, vmAssist: 0 }

t.test('a vcpu that waits is all zero', async (t) => {
  t.strictSame(waitingVcpu(3), { id: 3, ...WAITING })
  t.strictSame(waitingPvVcpu(3), { id: 3, ...WAITING, pv: PV })
})

t.test('the first vcpu boots, the others wait', async (t) => {
  const boot = { ...waitingVcpu(0), online: true, cr0: 0x11n }
  t.strictSame(bootedBy(boot, 3), [boot, waitingVcpu(1), waitingVcpu(2)])
  const pv = { ...boot, pv: PV }
  t.strictSame(bootedBy(pv, 2), [pv, waitingPvVcpu(1)])
})

t.test('registers are zero unless given', async (t) => {
  t.strictSame(registers({ rsi: 5n, rflags: 2n, rip: 0x1000n }), { ...ZERO, rsi: 5n, rflags: 2n, rip: 0x1000n })
})

t.test('real mode is a cr0 without PE', async (t) => {
  t.equal(inRealMode({ cr0: 0n }), true)
  t.equal(inRealMode({ cr0: 0x10n }), true)
  t.equal(inRealMode({ cr0: 1n }), false)
  t.equal(inRealMode({ cr0: 0x80000011n }), false)
})

t.test('a snapshot has at most 4096 vcpus', async (t) => {
  const header = { magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION, changeset: 0n, cpuid: 0, gtsc_khz: 0 }
  const part = (typecode: number, instance: number, body: Uint8Array) =>
    Buffer.concat([HvmSaveDescriptor.encode({ typecode, instance, length: body.length }), body])
  const context = (id: number) =>
    Buffer.concat([
      part(HVM_SAVE_CODE.HEADER, 0, HvmSaveHeader.encode(header)),
      part(HVM_SAVE_CODE.CPU, id, new Uint8Array(HvmHwCpu.size)),
      part(HVM_SAVE_CODE.END, 0, new Uint8Array(0)),
    ])
  t.ok(decodeHvmContext(context(4095)).has(4095))
  t.throws(() => decodeHvmContext(context(4096)), { code: 'bad-snapshot', message: /vcpu number is too large/ })
})
