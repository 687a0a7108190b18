/**
 * A guest as a save file has it: every frame in tables and contexts is the guest's own number.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "x86 PV Guest"; tools/libs/guest/xg_sr_save_x86_pv.c.
 * Gotcha: an identity p2m hides a frame left unconverted, so the p2m here has an offset.
 */
import t from 'tap'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { asPfns } from '../../lib/guest/pfn-view.js'
import { topTable, translate } from '../../lib/guest/translate.js'
import { buildDomain, PAGE_SIZE, readKernel } from '../../lib/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'

const OFFSET = 1000
const build = async (elfClass: 32 | 64) =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass })), {
    type: 'pv',
    memory: 8 * 2 ** 20,
    p2m: { offset: OFFSET },
  })

t.test("Xen's own entries of a top table are cleared", async (t) => {
  const domain = await build(64)
  const slot = topTable(domain) * PAGE_SIZE + 256 * 8
  const entry = new Uint8Array(BigUint64Array.of(0x7_0000_1067n).buffer)
  const memory = domain.memory.copy()
  memory.write(slot, entry)
  t.same(memory.read(slot, 8), entry)
  t.same(asPfns({ ...domain, memory }).memory.read(slot, 8), new Uint8Array(8))
})

t.test('an entry that names no frame of the guest ends a walk, and is refused in a save file', async (t) => {
  const domain = await build(64)
  const slot = topTable(domain) * PAGE_SIZE + 8
  const memory = domain.memory.copy()
  memory.write(slot, new Uint8Array(BigUint64Array.of(0x7_0000_1067n).buffer))
  const damaged = { ...domain, memory }
  t.equal(translate(damaged, 1n << 39n), undefined)
  t.throws(() => asPfns(damaged).memory.read(slot, 8), {
    code: 'bad-snapshot',
    message: /names a machine frame that is not the guest's: found 0x700001$/,
  })
})

t.test("the frames of a vcpu's GDT, and the table of its user mode, are the guest's numbers", async (t) => {
  for (const elfClass of [64, 32] as const) {
    const domain = await build(elfClass)
    const [vcpu] = domain.vcpus
    if (vcpu?.pv === undefined) throw new Error('no vcpu')
    const layout = elfClass === 64 ? VcpuGuestContext64 : VcpuGuestContext32
    const frames = Array.from({ length: 16 }, (_, i) => OFFSET + i)
    const context =
      elfClass === 64
        ? VcpuGuestContext64.encode({
            ...VcpuGuestContext64.zero,
            gdt_ents: 600n,
            gdt_frames: frames.map(BigInt),
            ctrlreg: [0n, BigInt((OFFSET + 7) * PAGE_SIZE), 0n, 0n, 0n, 0n, 0n, 0n],
          })
        : VcpuGuestContext32.encode({ ...VcpuGuestContext32.zero, gdt_ents: 600, gdt_frames: frames })
    const [found] = asPfns({ ...domain, vcpus: [{ ...vcpu, pv: { ...vcpu.pv, context } }] }).vcpus
    const decoded = layout.decode(found?.pv?.context ?? new Uint8Array(0))
    // 600 entries take two pages; the frames after them are not used.
    t.same(decoded.gdt_frames.map(Number), [0, 1, ...frames.slice(2)])
    if (elfClass === 64) t.equal(Number(decoded.ctrlreg[1]), 7 * PAGE_SIZE + 1, 'with the bit that says it is set')
    const [plain] = asPfns({ ...domain, vcpus: [{ ...vcpu, online: false }] }).vcpus
    t.equal(plain?.cr3, vcpu.cr3, 'a vcpu that is offline has no tables')
  }
})
