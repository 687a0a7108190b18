/**
 * xl builds a PVH guest and saves it before its first instruction; its file is compared with the guest that we build.
 *
 * Source: ../../lib/snapshot/xen-save.ts reads the file.
 * Gotcha: xl asks a PVH guest to suspend, as it asks a PV one. A guest that never ran cannot answer, so pvfreeze does.
 */
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { HVM_SAVE_CODE, HvmSaveDescriptor } from '../../lib/abi/hvm-save.js'
import { encodeHvmContext } from '../../lib/guest/hvm-context.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  PAGE_SIZE,
  readAcpi,
  readHvmStartInfo,
  readKernel,
} from '../../lib/index.js'
import { regionAt } from '../../lib/inspect/frames.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import type { CheckedCase } from './check.js'
import { forXl, type GuestSpec } from './guests.js'

/** Parts that may differ, and the reason; everything else must be the same. */
export const KNOWN_PVH_DIFFERENCES: Readonly<Record<string, string>> = {
  start_info: "Xen's lists have room for 32 modules with command lines of 1 KiB each: other addresses, same content",
  acpi: "Xen's DSDT has 128 processor objects, for other toolstacks than xl; so everything after it lies further on",
  free: "the page before the tables, 0xfc000, holds what that DSDT's code reads; the tables continue after ours",
}

/** Returns the names of the regions in which a page differs. */
function differingRegions(theirs: Domain, ours: Domain): string[] {
  const names = new Set<string>()
  const pages = new Set<number>()
  for (const domain of [theirs, ours])
    for (const { pfn, pages: count } of domain.memory.pages()) for (let i = 0; i < count; i++) pages.add(pfn + i)
  const read = ({ memory }: Domain, pfn: number) =>
    memory.has(pfn) ? memory.read(pfn * PAGE_SIZE, PAGE_SIZE) : undefined
  for (const pfn of pages) {
    const [a, b] = [read(theirs, pfn), read(ours, pfn)]
    if (a && b && Buffer.compare(a, b) === 0) continue
    names.add(regionAt(ours, pfn)?.name ?? 'free')
  }
  return [...names].sort()
}

function compareStartInfo(t: Test, theirs: Domain, ours: Domain): void {
  const [a, b] = [readHvmStartInfo(theirs), readHvmStartInfo(ours)]
  t.equal(b.paddr, a.paddr, 'it lies at the same address')
  for (const field of ['magic', 'version', 'flags', 'nr_modules', 'reserved'] as const)
    t.equal(b.fields[field], a.fields[field], field)
  t.equal(b.cmdline, a.cmdline)
  t.same(
    b.modules.map(({ paddr, size }) => [paddr, size]),
    a.modules.map(({ paddr, size }) => [paddr, size]),
    'modules',
  )
  const notAcpi = ({ memmap }: typeof a) => memmap.filter(({ type }) => type !== 3 && type !== 4)
  t.same(notAcpi(b), notAcpi(a), 'the memory map, except for the tables')
  const tables = (domain: Domain, found: typeof a) =>
    readAcpi(domain.memory, Number(found.fields.rsdp_paddr)).filter(({ checksumOk }) => checksumOk)
  const names = (domain: Domain, found: typeof a) =>
    tables(domain, found)
      .map(({ signature }) => signature)
      .sort()
  t.same(names(ours, b), names(theirs, a), 'the same tables')
  const entries = (domain: Domain, found: typeof a) =>
    tables(domain, found)
      .find(({ signature }) => signature === 'APIC')
      ?.bytes.subarray(36)
  t.same(entries(ours, b), entries(theirs, a), 'MADT')
}

/** The records of each vcpu that are compared, in addition to its registers. */
const COMPARED_RECORDS = { LAPIC: HVM_SAVE_CODE.LAPIC, MTRR: HVM_SAVE_CODE.MTRR } as const

/** Returns the bodies of one type in an HVM context, in the order of their vcpus. */
function recordsOf(context: Uint8Array, code: number): string[] {
  const out: string[] = []
  for (let at = 0; at < context.length; ) {
    const { typecode, instance, length } = HvmSaveDescriptor.decode(context, at)
    const body = context.subarray(at + HvmSaveDescriptor.size, at + HvmSaveDescriptor.size + length)
    if (typecode === code) out[instance] = Buffer.from(body).toString('hex')
    at += HvmSaveDescriptor.size + length
  }
  return out
}

/** Newer releases of Xen append fields to a record, and take a shorter one as if they were 0. */
function compareRecords(t: Test, theirs: readonly string[], ours: readonly string[], what: string): void {
  t.same(
    ours.map((record, i) => record.padEnd(theirs[i]?.length ?? 0, '0')),
    theirs,
    what,
  )
}

/** Like freeze_save, without the preparation of a PV guest. */
const SAVE_UNRUN =
  'request=/local/domain/$(domid)/control/shutdown; xl save $NAME saved & ' +
  "until_true 30 'the request to suspend' asked_to_suspend $request && " +
  'xenstore-write $request "" && pvfreeze $(domid) suspend; wait $!'

export function frozenPvhCase(name: string, spec: GuestSpec): CheckedCase {
  return {
    name,
    ...forXl(spec),
    steps: ['xl create -p guest.cfg', SAVE_UNRUN, 'give saved'],
    async check(t, result) {
      const theirs = openXl(bytesSource(result.file('saved')))
      const kernel = await readKernel(typeof spec.kernel === 'string' ? readFileSync(spec.kernel) : spec.kernel)
      const ours = buildDomain(kernel, {
        type: 'pvh',
        xen: result.release,
        memory: spec.memoryMiB * 2 ** 20,
        vcpus: spec.vcpus ?? 1,
        cmdline: spec.cmdline ?? '',
        ramdisk: spec.ramdisk === undefined ? [] : readFileSync(spec.ramdisk),
      })
      if (theirs.boot.kind !== 'hvm_start_info' || theirs.boot.hvmStartInfo === undefined)
        return void t.fail('the guest has run')
      const unknown = differingRegions(theirs, ours).filter((region) => !(region in KNOWN_PVH_DIFFERENCES))
      t.same(unknown, [], 'every page')
      compareStartInfo(t, theirs, ours)
      t.same(ours.vcpus[0], theirs.vcpus[0], 'vcpu 0')
      const context = theirs.saved?.records.find(({ name }) => name === 'HVM_CONTEXT')?.body
      const own = encodeHvmContext(ours.vcpus)
      for (const [what, code] of Object.entries(COMPARED_RECORDS))
        compareRecords(
          t,
          recordsOf(context ?? own.subarray(own.length), code),
          recordsOf(own, code),
          `${what} of each vcpu`,
        )
      t.same(
        theirs.boot.hvmParams.filter(({ index }) => ours.boot.hvmParams.some((own) => own.index === index)),
        ours.boot.hvmParams,
      )
    },
  }
}
