/** A damaged kernel is shown as far as it can be, and each verdict on it is no, with the damage as the reason. */
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { Ehdr32, Ehdr64 } from '../../lib/abi/elf.js'
import type { ErrorCode } from '../../lib/errors.js'
import { describeKernel, kernelText } from '../../lib/inspect/describe.js'
import { type Kernel, readKernel } from '../../lib/kernel/kernel.js'
import { bootVerdict, bootVerdicts, VERDICT_TYPES } from '../../lib/kernel/verdict.js'
import { buildDomain } from '../../lib/protocol/build.js'
import { buildBzImage, buildElf, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { refuses } from './refusal.js'

/** Checks that the kernel can be built by none of `types`, for the one reason, and that `inspect` shows the reason. */
async function cannotBoot(t: Test, kernel: Kernel, code: ErrorCode, reason: RegExp, types = VERDICT_TYPES.slice()) {
  for (const verdict of bootVerdicts(kernel)) {
    if (types.includes(verdict.type)) t.match(verdict, { ok: false, code, reason })
  }
  for (const type of types) await refuses(t, () => buildDomain(kernel, { type, memory: 2 ** 26 }), code, reason)
  t.match(kernelText(kernel).find((line) => line.startsWith('damage   ')) ?? '', reason)
}

/** Returns a kernel as a machine of the other byte order would write its header. */
function bigEndian(file: Uint8Array, struct: typeof Ehdr64 | typeof Ehdr32): Uint8Array {
  const out = file.slice()
  for (const name of struct.fieldNames.filter((field) => field.startsWith('e_'))) {
    const at = struct.offsetOf(name)
    out.subarray(at, at + struct.sizeOf(name as never)).reverse()
  }
  out[struct.offsetOf('ei_data')] = 2
  return out
}

t.test('an object file', async (t) => {
  const file = buildElf({
    class: 64,
    type: 1,
    entry: 0,
    segments: [],
    sections: [{ name: '.text', data: patternBytes(9) }],
  })
  const kernel = await readKernel(file)
  t.match(describeKernel(kernel), { elf: { class: 64, type: 'REL', machine: 'x86-64' }, fault: { code: 'bad-elf' } })
  await cannotBoot(t, kernel, 'bad-elf', /the ELF is an object file, which has no program headers/)
  const inGzip = await readKernel(new Uint8Array(gzipSync(file)))
  await cannotBoot(t, inGzip, 'bad-elf', /^(damage {3}bad-elf: )?in the gzip file: the ELF is an object file/)
})

t.test('a big-endian ELF', async (t) => {
  const elf = { entry: 0x1234, segments: [{ paddr: 0x1000, data: patternBytes(16) }] }
  for (const [elfClass, struct, machine] of [
    [32, Ehdr32, 20],
    [64, Ehdr64, 21],
  ] as const) {
    const kernel = await readKernel(bigEndian(buildElf({ ...elf, class: elfClass, machine }), struct))
    t.match(describeKernel(kernel), {
      elf: { class: elfClass, type: 'EXEC', machine: `0x${machine.toString(16)}`, entry: '0x1234', segments: [] },
    })
    await cannotBoot(t, kernel, 'bad-elf', /the byte order \(EI_DATA\) is not that of x86: .*found 2 \(big-endian\)/)
  }
})

t.test('a damaged program header: the others are shown', async (t) => {
  const file = pvhKernelFile()
  const cut = await readKernel(file.subarray(0, file.length - 4))
  t.equal(cut.elf?.segments.length, 2, 'without that of the notes')
  await cannotBoot(t, cut, 'truncated', /a segment reaches past the end of the file/)
  const [first, second] = [
    { paddr: 0x1000, data: patternBytes(16) },
    { paddr: 0x2000, data: patternBytes(16) },
  ]
  const kernel = await readKernel(
    buildElf({ class: 64, entry: 0x1000, segments: [{ ...first, header: { p_memsz: 8 } }, second] }),
  )
  t.same(
    kernel.elf?.segments.map(({ paddr }) => paddr),
    [0x2000n],
  )
  await cannotBoot(t, kernel, 'bad-elf', /more bytes in the file than in memory/)
})

t.test('a zImage, as some builds of iPXE are', async (t) => {
  const file = buildBzImage({ payload: patternBytes(100), protocol: 0x207, header: { loadflags: 0, code32_start: 0 } })
  const kernel = await readKernel(file)
  t.match(describeKernel(kernel), { linux: { protocol: '2.07', loadflags: [] }, fault: { code: 'not-a-kernel' } })
  await cannotBoot(t, kernel, 'not-a-kernel', /the file is a zImage/)
})

t.test('a bzImage with a damaged payload, or cut off', async (t) => {
  const elf = pvKernelFile()
  const file = buildBzImage({ payload: new Uint8Array(gzipSync(elf)), version: '6.1' })
  const damaged = file.slice()
  damaged.fill(0xff, 0x860, 0x900)
  const kernel = await readKernel(damaged)
  t.match(describeKernel(kernel), { linux: { version: '6.1' }, fault: { code: 'payload-damaged' } })
  await cannotBoot(t, kernel, 'payload-damaged', /gzip/)
  const cut = await readKernel(file.subarray(0, 0x860))
  t.match(describeKernel(cut), { linux: { version: '6.1' } })
  await cannotBoot(t, cut, 'truncated', /the payload reaches past the end of the file/)
  await cannotBoot(t, await readKernel(file.subarray(0, 0x400)), 'truncated', /ends within the setup code/)
})

t.test('invalid Xen notes: no PV and no PVH guest', async (t) => {
  const notes = [
    ...xenNotes({ PHYS32_ENTRY: [0x1000000], XEN_VERSION: 'xen-3.0' }),
    { owner: 'Xen', type: 6, desc: 'linux', namesz: 3 },
  ]
  const spec = { class: 64, entry: 0x1000000, segments: [{ paddr: 0x1000000, data: patternBytes(64) }] } as const
  const kernel = await readKernel(buildElf({ ...spec, notes }))
  t.equal(kernel.notes.length, 3, 'all of them are shown')
  t.match(describeKernel(kernel), { xen: undefined, fault: undefined, xenFault: { code: 'bad-note' } })
  await cannotBoot(t, kernel, 'bad-note', /owner is Xen, but its length is wrong: expected namesz 4, found 3/, [
    'pv',
    'pvh',
  ])
  t.match(bootVerdict(kernel, 'linux'), { ok: true }, 'Linux does not need them')
  const number = await readKernel(buildElf({ ...spec, notes: [{ type: 'ENTRY', desc: new Uint8Array(3) }] }))
  t.equal(number.notes.length, 1)
  await cannotBoot(t, number, 'bad-note', /note ENTRY is not a number/, ['pv', 'pvh'])
})

t.test('notes after a broken one are said to be unreadable', async (t) => {
  const build = (descsz: number, owner = 'Xen') =>
    buildElf({
      class: 32,
      entry: 0x100000,
      segments: [{ paddr: 0x100000, data: new Uint8Array(64), memsz: 4096 }],
      notes: [
        ...xenNotes({ GUEST_VERSION: '1' }),
        { owner, type: 6, desc: 'mine', descsz },
        ...xenNotes({ PHYS32_ENTRY: [0x100000] }),
      ],
    })
  t.match(describeKernel(await readKernel(build(5))), { unreadableNotes: undefined, xen: { physEntry: '0x100000' } })
  const kernel = await readKernel(build(0xc0010001))
  const offset = kernel.notes[1]?.offset ?? 0
  t.match(describeKernel(kernel), {
    notes: [{ type: 'GUEST_VERSION' }, { type: 'GUEST_OS', value: 'mine', offset }],
    unreadableNotes: [{ offset, reason: /^a descriptor has 0xc0010001 bytes/ }],
  })
  t.match(
    kernelText(kernel).at(-3),
    `notes from offset 0x${offset.toString(16)} are unreadable: a descriptor has 0xc0010001`,
  )
  t.match(bootVerdicts(kernel)[1], { type: 'pvh', ok: false, code: 'not-pvh' })
})

t.test('a last note of another owner that overruns its segment: the kernel boots', async (t) => {
  const wrong = { owner: 'stapsdt', type: 3, desc: 'x' }
  for (const overrun of [{ descsz: 0x1000 }, { namesz: 0x1000 }]) {
    const file = buildElf({
      class: 64,
      entry: 0x1000000,
      segments: [{ paddr: 0x1000000, data: patternBytes(64) }],
      notes: [...xenNotes({ PHYS32_ENTRY: [0x1000000] }), { ...wrong, ...overrun }],
    })
    const kernel = await readKernel(file)
    t.match(kernel, { fault: undefined, xenFault: undefined, xen: { physEntry: 0x1000000 } })
    t.equal(kernel.unreadableNotes.length, 1, 'said')
    t.match(bootVerdicts(kernel)[1], { type: 'pvh', ok: true })
  }
})
