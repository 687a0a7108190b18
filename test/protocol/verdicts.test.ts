/**
 * The verdict on a kernel and the outcome of a build never contradict each other: for each type by name, and for auto.
 *
 * Source: lib/kernel/verdict.ts, lib/protocol/build.ts; fixtures by the classes of a corpus of real kernels.
 * Gotcha: a verdict is about the kernel alone, so the guests here have room for each of them.
 */
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import {
  bootVerdict,
  bootVerdicts,
  buildDomain,
  type DomainConfig,
  readKernel,
  type VerdictType,
} from '../../lib/index.js'
import { VERDICT_TYPES } from '../../lib/kernel/verdict.js'
import { buildBzImage, xenNotes } from '../../lib/testing/index.js'
import {
  bootImageFile,
  firmwareFile,
  hugePvFile,
  libraryFile,
  multiboot2File,
  multibootFile,
  oldVmlinuxFile,
  otherSystemFile,
  programFile,
  virtualVmlinuxFile,
} from '../fixtures/foreign-kernels.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const XEN_NOTES = xenNotes({ GUEST_OS: 'GNU Mach', LOADER: 'generic', XEN_VERSION: 'xen-3.0', PAE_MODE: 'yes' })
const LINUX_NOTE = { owner: 'Linux', type: 0x101, desc: 0 }

interface Case {
  readonly bytes: Uint8Array
  /** The types that are ok without a name; auto is the first. */
  readonly ok: readonly VerdictType[]
  /** Whether type linux by name is ok; default: as without a name. */
  readonly byName?: boolean
  /** A part of linux's reason, or of its needs. */
  readonly linux?: string
  readonly pv?: string
}

const CASES: Readonly<Record<string, Case>> = {
  'a PV kernel': { bytes: pvKernelFile(), ok: ['pv'] },
  'a PVH kernel': { bytes: pvhKernelFile(), ok: ['pvh'], byName: true },
  'a vmlinux': { bytes: linuxKernelFile(), ok: ['linux'] },
  'a vmlinux without notes': { bytes: oldVmlinuxFile(), ok: ['linux'] },
  'a bzImage': { bytes: buildBzImage({ payload: linuxKernelFile() }), ok: ['linux'] },
  'a Multiboot kernel': { bytes: multibootFile(), ok: [], byName: true, linux: 'found a Multiboot header' },
  'a Multiboot2 kernel': { bytes: multiboot2File(), ok: [], byName: true, linux: 'found a Multiboot2 header' },
  'a Multiboot kernel at virtual addresses': {
    bytes: multibootFile({ entry: 0xc0100000 }),
    ok: [],
    byName: false,
    linux: 'found a Multiboot header',
  },
  'a Multiboot kernel for PV': {
    bytes: multibootFile({ notes: XEN_NOTES }),
    ok: ['pv'],
    byName: true,
    linux: "found GUEST_OS 'GNU Mach'",
  },
  'a Multiboot kernel for PVH': {
    bytes: multibootFile({ notes: xenNotes({ PHYS32_ENTRY: 0x100000 }) }),
    ok: ['pvh'],
    byName: true,
    linux: 'found a Multiboot header',
  },
  'a Linux that is also Multiboot': { bytes: multibootFile({ notes: [LINUX_NOTE] }), ok: ['linux'] },
  firmware: { bytes: firmwareFile(), ok: [], byName: true, linux: 'found no note or section of Linux' },
  'a program': { bytes: programFile(), ok: [], byName: true, linux: 'found PT_INTERP' },
  'a library': { bytes: libraryFile(), ok: [], byName: true, linux: 'found PT_DYNAMIC' },
  'another system': { bytes: otherSystemFile(), ok: [], byName: true, linux: "found GUEST_OS 'OSv?'" },
  'an ELF64 at virtual addresses': {
    bytes: virtualVmlinuxFile(64),
    ok: [],
    linux: 'found [0xffffffff81000000, 0xffffffff81001388)',
  },
  'an ELF32 at virtual addresses': { bytes: virtualVmlinuxFile(32), ok: [], linux: 'found [0xc0100000, 0xc0101388)' },
  'a PV image larger than the address space': {
    bytes: hugePvFile(),
    ok: [],
    pv: 'larger than the address space: expected at most 256 TiB, found 16777216.0 TiB',
  },
  'a boot image': { bytes: bootImageFile(), ok: ['linux'], linux: 'its setup code: by its syssize of 0' },
  'a boot image of a later protocol': {
    bytes: bootImageFile({ protocol: 0x20f, header: { payload_length: 0 } }),
    ok: ['linux'],
    linux: 'its setup code: by its syssize of 0',
  },
}

/** Guests of each size; the largest reaches over the hole below 4 GiB. */
const MEMORIES = [64 * 2 ** 20, 512 * 2 ** 20, 4 * 2 ** 30]
const LARGEST = Math.max(...MEMORIES)
/** Whether it was built, or refused only for the size of the guest. */
const roomy = (memory: number, error: DomainBuilderError | undefined) =>
  error === undefined || (memory < LARGEST && error.code === 'memory-too-small')

for (const [name, { bytes, ok, byName, linux, pv }] of Object.entries(CASES)) {
  t.test(name, async (t) => {
    const kernel = await readKernel(bytes)
    const verdicts = bootVerdicts(kernel)
    const text = (type: VerdictType) => JSON.stringify(verdicts.find((verdict) => verdict.type === type))
    t.same(
      verdicts.filter((verdict) => verdict.ok).map(({ type }) => type),
      ok,
    )
    t.equal(bootVerdict(kernel, 'linux').ok, byName ?? ok.includes('linux'))
    if (linux !== undefined) t.match(text('linux'), linux)
    if (pv !== undefined) t.match(text('pv'), pv)

    const build = (config: Partial<DomainConfig>): { type?: string; error?: DomainBuilderError } => {
      try {
        return { type: buildDomain(kernel, config as DomainConfig).type }
      } catch (error) {
        if (!(error instanceof DomainBuilderError)) throw error
        return { error }
      }
    }
    for (const memory of MEMORIES) {
      for (const type of VERDICT_TYPES) {
        const verdict = bootVerdict(kernel, type)
        const { error } = build({ type, memory } as DomainConfig)
        if (!verdict.ok) t.match(error, { code: verdict.code, message: verdict.reason }, `${type}: the same reason`)
        else t.ok(roomy(memory, error), `${type} by name: ${error?.message ?? 'built'}`)
      }
      const { type, error } = build({ memory })
      if (ok.length === 0) {
        t.ok(
          verdicts.some((verdict) => !verdict.ok && error?.message.includes(verdict.reason)),
          'auto has a reason of check',
        )
      } else if (error === undefined) t.equal(type, ok[0], 'auto is the first that is ok')
      else t.ok(roomy(memory, error), `auto: ${error.message}`)
    }
  })
}

t.test('auto: a kernel of no type is refused with each reason', async (t) => {
  const kernel = await readKernel(multibootFile())
  const refusal = (purpose: DomainConfig['purpose']) => {
    try {
      buildDomain(kernel, { memory: 2 ** 26, ...(purpose === undefined ? {} : { purpose }) })
    } catch (error) {
      return String(error)
    }
    return 'built'
  }
  t.match(refusal(undefined), /no type suits the kernel: pv: .*; pvh: .*; linux: .*found a Multiboot header$/)
  t.match(refusal('vmm'), /: pvh: .*; linux: .*found a Multiboot header; pv: /)
  t.notMatch(refusal('create'), 'linux: ')
})

t.test('auto: a type that the kernel claims in vain gives the reason', async (t) => {
  const kernel = await readKernel(pvKernelFile({ notes: { FEATURES: '!telepathy' } }))
  t.throws(() => buildDomain(kernel, { memory: 2 ** 26 }), { code: 'unknown-feature', message: /^the kernel requires/ })
})

t.test('a boot image: its setup code by default, another entry by name, no hook', async (t) => {
  const kernel = await readKernel(bootImageFile())
  const memory = 2 ** 26
  t.equal(buildDomain(kernel, { type: 'linux', memory }).vcpus[0]?.cr0, 0x10n, 'real mode')
  t.equal(buildDomain(kernel, { type: 'linux', memory, entry: 32 }).vcpus[0]?.cr0, 0x11n, 'as it claims')
  t.throws(() => buildDomain(kernel, { type: 'linux', memory, reserve: [{ start: 0x100000, end: 0x200000 }] }), {
    code: 'does-not-fit',
    message: /its setup header has no code \(syssize 0\)/,
  })
})

t.test('an old kernel of a whole number of MiB: a syssize of 0 is its true size', async (t) => {
  const kernel = await readKernel(bootImageFile({ payload: pattern(2 ** 20 - 0x40 - 5) }))
  t.equal(kernel.linux?.noCode, false)
  t.equal(buildDomain(kernel, { type: 'linux', memory: 2 ** 26 }).vcpus[0]?.cr0, 0x11n)
})
