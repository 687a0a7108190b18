/**
 * HVM guests from save files built to the specification: the parts that are read, the parts that are kept, refusals.
 *
 * Source: ../fixtures/hvm-save.ts; test/xen/hvm.ts tests files of a real xl.
 * Gotcha: the guest's vcpus are in three modes, and the last one waits, so only vcpu 0 gives the expected views.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HVM_SAVE_CODE } from '../../lib/abi/hvm-save.js'
import { LIBXC_RECORD, RecordHeader } from '../../lib/abi/save-stream.js'
import { CR4_LA57, CR4_PAE } from '../../lib/abi/x86.js'
import { decodeHvmContext, hvmRecords } from '../../lib/guest/hvm-context.js'
import {
  bytesSource,
  type Domain,
  DomainBuilderError,
  describeDomain,
  diffDomains,
  domainText,
  mapText,
  PAGE_SIZE,
  readVirtual,
  translate,
  validate,
  writeXl,
} from '../../lib/index.js'
import { savedSettings } from '../../lib/inspect/saved-config.js'
import { coreRuns } from '../../lib/snapshot/core-runs.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { HVM_CODE, HVM_CONFIG, HVM_PAGES, HVM_VCPUS, type HvmVcpus, hvmSaveFile } from '../fixtures/hvm-save.js'
import { bytesOf, THROUGH } from '../fixtures/snapshots.js'
import { requirePeer } from '../peer/require-peer.js'
import { findVerifyStream } from '../peer/verify-stream.js'

const open = (file = hvmSaveFile()): Domain => openXl(bytesSource(file))
const recordOf = (guest: Domain, name: string): Uint8Array =>
  guest.saved?.records.find((record) => record.name === name)?.body ?? new Uint8Array(0)

t.test('pages of a live save: the last one of each counts, and those that are gone are gone', async (t) => {
  const { memory } = open()
  t.same(
    memory.ranges,
    [
      { start: 0, end: 0x38 },
      { start: 0x39, end: 0x3a },
      { start: 0x3b, end: 0x40 },
      { start: 0xe0, end: 0x100 },
      { start: 0xfeff8, end: 0xff000 },
    ],
    'no VGA hole, no broken page, no page that was given back',
  )
  for (const [pfn, bytes] of HVM_PAGES)
    if (Buffer.compare(memory.read(pfn * PAGE_SIZE, PAGE_SIZE), bytes) !== 0) t.fail(`pfn ${pfn}`)
  t.equal(memory.pageCount, HVM_PAGES.size)
})

for (const vcpus of Object.keys(HVM_VCPUS) as HvmVcpus[]) {
  t.test(`vcpus ${vcpus}: each as its record has it, in any mode`, async (t) => {
    const guest = open(hvmSaveFile({ vcpus }))
    const wanted = HVM_VCPUS[vcpus]
    t.equal(guest.type, 'hvm')
    t.equal(guest.abi, vcpus === 'in 64-bit mode' ? 'x86_64' : 'x86_32')
    t.equal(guest.vcpus.length, wanted.length + 1)
    t.equal(guest.vcpus.at(-1)?.online, false, 'the last one waits')
    for (const [id, cpu] of wanted.entries()) {
      const { registers, segments, tr, gdtr, ...rest } = guest.vcpus[id] as Domain['vcpus'][number]
      const fields: Readonly<Record<string, unknown>> = cpu
      for (const [name, value] of Object.entries(registers)) t.equal(value, fields[name] ?? 0n, `vcpu ${id} ${name}`)
      for (const name of ['cr0', 'cr3', 'cr4', 'dr6', 'dr7'] as const) t.equal(rest[name], fields[name] ?? 0n, name)
      t.equal(rest.efer, fields.msr_efer ?? 0n)
      t.equal(segments.cs.selector, cpu.cs_sel)
      t.equal(segments.cs.descriptor?.base, fields.cs_base ?? 0n)
      t.equal(segments.cs.descriptor?.attributes, cpu.cs_arbytes)
      t.equal(tr?.selector, fields.tr_sel ?? 0)
      t.equal(gdtr?.base, fields.gdtr_base)
    }
  })
}

t.test('all that a Domain has no word for is kept, and comes back', async (t) => {
  const guest = open()
  t.equal(guest.saved?.config, HVM_CONFIG(4))
  t.same(
    guest.saved?.records.map(({ name }) => name),
    ['X86_CPUID_POLICY', 'X86_MSR_POLICY', 'X86_TSC_INFO', 'EMULATOR_XENSTORE_DATA', 'EMULATOR_CONTEXT', 'HVM_CONTEXT'],
  )
  const types = new Set(Array.from(hvmRecords(recordOf(guest, 'HVM_CONTEXT')), ({ typecode }) => typecode))
  t.same(
    [...types].sort((a, b) => a - b),
    Object.values(HVM_SAVE_CODE).filter((code) => code > HVM_SAVE_CODE.HEADER),
    'of every type',
  )
  const again = THROUGH.xl(THROUGH.raw(guest))
  t.same(again.saved, guest.saved)
  t.same(again.boot, guest.boot)
  t.same(diffDomains(guest, again), { fields: [], entries: [], entriesFound: 0, pages: [] })
  t.equal(Buffer.compare(bytesOf(writeXl(again)), bytesOf(writeXl(guest))), 0)
})

t.test('diff says which of what is kept is not the same', (t) => {
  const guest = open()
  const { saved = { records: [] } } = guest
  const [policy, ...records] = saved.records.map(({ name, body }) =>
    name === 'EMULATOR_CONTEXT'
      ? { name, body: body.map((byte, i) => (i === 0x99 ? byte ^ 1 : byte)) }
      : { name, body },
  )
  t.equal(policy?.name, 'X86_CPUID_POLICY')
  const config = JSON.parse(saved.config ?? '{}') as { c_info: object }
  const changed = { ...config, c_info: { ...config.c_info, uuid: 'another' }, disks: [{ vdev: 'xvda' }] }
  const other: Domain = { ...guest, saved: { config: JSON.stringify(changed), records } }
  t.same(diffDomains(guest, other).fields, [
    { what: 'kept uuid', a: '6cf5c1f3-4b2e-4e52-9f7c-3a5b9d2f0c11', b: 'another' },
    { what: 'kept disks[0].vdev', a: 'none', b: 'xvda' },
    { what: 'kept X86_CPUID_POLICY', a: '288 bytes', b: 'none' },
    { what: 'kept EMULATOR_CONTEXT', a: '17193 bytes', b: '17193 bytes, first difference at 0x99' },
  ])
  t.end()
})

t.test('without a configuration, a device model after the stream says that the guest is HVM', async (t) => {
  const file = Buffer.from(hvmSaveFile())
  const mandatoryFlags = 0x20 + 4
  file.writeUInt32LE(2, mandatoryFlags)
  const guest = open(file)
  t.equal(guest.type, 'hvm')
  t.equal(guest.name, '')
  t.equal(guest.saved?.config, undefined)
  const written = open(bytesOf(writeXl(guest)))
  t.equal(written.type, 'hvm', 'and then the configuration that we make')
})

t.test('a guest whose device model was not saved cannot be restored', async (t) => {
  const guest = open()
  const records = guest.saved?.records.filter(({ name }) => name !== 'EMULATOR_CONTEXT') ?? []
  t.throws(() => writeXl({ ...guest, saved: { records } }), {
    code: 'bad-config',
    message: /the state of the guest's device model is missing/,
  })
})

t.test('what people see of it', async (t) => {
  const guest = open()
  const { rip = 0n } = guest.vcpus[0]?.registers ?? {}
  t.equal(translate(guest, rip)?.pfn, HVM_CODE.pfn)
  t.equal(Buffer.from(readVirtual(guest, HVM_CODE.vaddr, 16)).toString(), `page ${HVM_CODE.pfn}, round 2`)
  const json = describeDomain(guest)
  t.match(json, { type: 'hvm', hvmParams: { STORE_PFN: '0xfeffc', CALLBACK_IRQ: '0x200000000000018' } })
  t.match(json.saved, {
    config: savedSettings(HVM_CONFIG(4)),
    records: [{}, {}, {}, {}, { name: 'EMULATOR_CONTEXT', bytes: 0x4329 }, {}],
  })
  const text = domainText(guest).join('\n')
  t.match(text, /^guest {4}winter: hvm x86_64, /)
  t.match(text, /page tables {2}4 levels, top at pfn 0x20/)
  t.match(text, /HVM_CONTEXT +\d+ +CPU x 3, PIC x 2, IOAPIC, /)
  t.notMatch(text, /every other register 0/)
  const map = mapText(guest).join('\n')
  t.match(map, /0xffffffff81000000 +0x000012000/)
  const first = domainText(open(hvmSaveFile({ vcpus: 'in real mode' }))).join('\n')
  t.match(first, /paging is off/)
  t.throws(() => validate(guest), { code: 'bad-config', message: /page tables that Xen validates: .* found hvm/ })
})

/** Returns the same guest with other control registers. */
const withControl = (guest: Domain, change: Partial<Domain['vcpus'][number]>): Domain => ({
  ...guest,
  vcpus: guest.vcpus.map((vcpu) => ({ ...vcpu, ...change })),
})

t.test('page tables that we do not walk are named, and everything but virtual addresses goes on', async (t) => {
  const guest = open()
  const { cr4 = 0n } = guest.vcpus[0] ?? {}
  const odd: readonly [string, Domain, RegExp][] = [
    [
      'five levels',
      withControl(guest, { cr4: cr4 | BigInt(CR4_LA57) }),
      /^page tables of five levels are not supported/,
    ],
    ['two levels', withControl(guest, { cr4: cr4 & ~BigInt(CR4_PAE) }), /^page tables of two levels are not supported/],
    ['a cr3 outside the guest', withControl(guest, { cr3: 0xa0000n }), /^cr3 names a frame the guest does not have/],
  ]
  for (const [name, domain, message] of odd) {
    t.throws(() => translate(domain, HVM_CODE.vaddr), { code: 'not-mapped', message }, name)
    t.match(domainText(domain).join('\n'), new RegExp(message.source, 'm'), `${name}: inspect`)
    t.match(mapText(domain).join('\n').replace(/\s+/g, ' '), new RegExp(message.source.slice(1)), `${name}: map`)
    t.same(coreRuns(domain, 10), [])
    t.same(THROUGH['elf-core'](domain).vcpus, domain.vcpus, `${name}: elf-core`)
  }
})

t.test('what is refused', async (t) => {
  const guest = open()
  const refuses = (make: () => unknown, wanted: { code: string; message: RegExp }): void => {
    t.throws(make, wanted)
    t.throws(make, DomainBuilderError)
  }
  const { saved: _, ...unsaved } = guest
  refuses(() => bytesOf(writeXl(unsaved)), {
    code: 'bad-config',
    message: /^the state of the guest's devices is missing: expected HVM_CONTEXT, found none$/,
  })
  refuses(() => bytesOf(writeXl(guest, { version: 2 })), {
    code: 'bad-config',
    message: /^a saved record is not supported by Xen before 4.14: expected version 3, found X86_CPUID_POLICY$/,
  })
  const file = Buffer.from(hvmSaveFile())
  const context = file.indexOf(recordOf(guest, 'HVM_CONTEXT'))
  const header = context - RecordHeader.size
  t.equal(file.readUInt32LE(header), LIBXC_RECORD.HVM_CONTEXT)
  const damaged = (change: (bytes: Buffer) => void): Buffer => {
    const copy = Buffer.from(file)
    change(copy)
    return copy
  }
  refuses(() => open(damaged((bytes) => bytes.writeUInt32LE(1, context + 8))), {
    code: 'bad-snapshot',
    message: /^HVM_CONTEXT record: HVM context: its header has the wrong magic/,
  })
  refuses(() => decodeHvmContext(recordOf(guest, 'HVM_CONTEXT').subarray(0, -4)), {
    code: 'bad-snapshot',
    message: /^HVM context: the context ends within hvm_save_descriptor/,
  })
})

t.test("Xen's own checker takes the file, and what we write of it", async (t) => {
  const verify = await requirePeer(t, findVerifyStream)
  if (!verify) return
  const directory = mkdtempSync(join(tmpdir(), 'hvm-'))
  try {
    for (const version of [3, 2] as const) {
      // Under Python 3, that checker accepts no text of a device model from any writer.
      const file = hvmSaveFile({ version, xenstoreData: '' })
      const written = bytesOf(writeXl(openXl(bytesSource(file)), { version }))
      for (const [name, bytes] of Object.entries({ fixture: file, written })) {
        const path = join(directory, name)
        writeFileSync(path, bytes)
        t.equal(verify(path), undefined, `${name}, version ${version}`)
      }
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
})
