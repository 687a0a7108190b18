/**
 * Converts every format to every other and back, for every kind of guest; a format refuses other guests in one line.
 *
 * Source: lib/snapshot.
 * Gotcha: a format carries a guest whole or not at all. If it refuses the built guest, it must refuse it after every
 * other format too. An xl file has pfns where the others have frames, so p2m is the identity here. xl.test.ts shows
 * that any other p2m gives the same file.
 */
import t, { type Test } from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  type DomainConfig,
  readKernel,
} from '../../lib/index.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { HVM_VCPUS, type HvmVcpus, hvmSaveFile } from '../fixtures/hvm-save.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { BARE_FORMATS, FORMATS, sameGuest, THROUGH } from '../fixtures/snapshots.js'

type Format = (typeof FORMATS)[number]
type Refusals = Partial<Record<Format, RegExp>>

interface Guest {
  readonly make: () => Promise<Domain>
  /** The formats that cannot carry it, with the reasons. */
  readonly refusals: Refusals
}

const common = { memory: 6 * 2 ** 20, ramdisk: pattern(9000), cmdline: 'quiet' }
const needsXen = /^the guest needs (Xen|the state of its devices)[:,] .* expected pvh or linux, found (pv|hvm)$/
const specialPages = /^the guest has Xen's special pages: .* platform pc, found one of platform xen$/
const notForXl =
  /^the type of the guest is not supported by the xl format: expected a pv, pvh or hvm guest, found linux$/
const noSpecialPages = /^Xen's special pages are missing from the guest: expected platform xen, found platform pc$/
const policies = /^a saved record is not supported by Xen before 4.14: .* found X86_CPUID_POLICY$/

const bareOnly = (why: RegExp): Refusals => Object.fromEntries(BARE_FORMATS.map((format) => [format, why]))

const built = (kernel: Uint8Array, config: DomainConfig) => async () => buildDomain(await readKernel(kernel), config)

const pv = (bits: 32 | 64): Guest => ({
  make: built(pvKernelFile({ class: bits }), { ...common, type: 'pv', vcpus: 3, purpose: 'restore' }),
  refusals: bareOnly(needsXen),
})
const pvh = (bits: 32 | 64): Guest => ({
  make: built(pvhKernelFile({ class: bits, paddr: 0x100000 }), { ...common, type: 'pvh', vcpus: 3 }),
  refusals: bareOnly(specialPages),
})
const linux = (bits: 32 | 64): Guest => ({
  make: built(linuxKernelFile(bits), { ...common, type: 'linux', memory: 20 * 2 ** 20 }),
  refusals: { xl: notForXl, 'xl version 2': notForXl },
})
/** An HVM guest saved by xl, of a later Xen and of an earlier one. */
const hvm = (vcpus: HvmVcpus, version: 2 | 3): Guest => ({
  make: async () => openXl(bytesSource(hvmSaveFile({ vcpus, version }))),
  refusals: { ...bareOnly(needsXen), ...(version === 3 ? { 'xl version 2': policies } : {}) },
})
const GUESTS: Readonly<Record<string, Guest>> = {
  'PV, 64-bit': pv(64),
  'PV, 32-bit': pv(32),
  'PVH, 64-bit kernel': pvh(64),
  'PVH, 32-bit kernel': pvh(32),
  'PVH for a PC': {
    make: built(pvhKernelFile({ paddr: 0x100000 }), { ...common, type: 'pvh', purpose: 'vmm' }),
    refusals: { xl: noSpecialPages, 'xl version 2': noSpecialPages },
  },
  'Linux, 64-bit': linux(64),
  'Linux, 32-bit': linux(32),
  ...Object.fromEntries(
    (Object.keys(HVM_VCPUS) as HvmVcpus[]).map((vcpus, i) => [`HVM, ${vcpus}`, hvm(vcpus, i === 0 ? 3 : 2)]),
  ),
}

function refused(t: Test, domain: Domain, format: Format, why: RegExp, from: string): void {
  try {
    THROUGH[format](domain)
    t.fail(`${from} to ${format} was not refused`)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    t.match(error.message, why, `${from} to ${format} is refused`)
  }
}

for (const [name, { make, refusals }] of Object.entries(GUESTS)) {
  t.test(`${name}: every format into every other and back`, async (t) => {
    const guest = await make()
    // An xl file has a configuration of every guest, which stays with it from there on.
    const fromXl = refusals.xl === undefined ? THROUGH.xl(guest).saved : undefined
    // So has a file of libvirt.
    const fromLibvirt = refusals.libvirt === undefined ? THROUGH.libvirt(guest).saved : undefined
    const same = (found: Domain, what: string): void => {
      sameGuest(t, found, guest, what)
      t.same([found.type, found.abi], [guest.type, guest.abi], `${what}: kind`)
      const saved = guest.saved ?? (what.includes('xl') ? fromXl : what.includes('libvirt') ? fromLibvirt : undefined)
      t.same(found.saved, saved, `${what}: what is kept as it was saved`)
    }
    const carried = FORMATS.filter((format) => refusals[format] === undefined)
    t.ok(carried.length >= 4, carried.join(', '))
    for (const one of carried) {
      const first = THROUGH[one](guest)
      same(first, one)
      for (const other of carried) {
        const there = THROUGH[other](first)
        same(there, `${one} to ${other}`)
        same(THROUGH[one](there), `${one} to ${other} and back`)
      }
      for (const format of FORMATS) {
        const why = refusals[format]
        if (why) refused(t, first, format, why, one)
      }
    }
  })
}
