/**
 * Cores of QEMU's dump-guest-memory: the vcpus, the memory, the notes that are kept, and refusals.
 *
 * Source: ../fixtures/qemu-core.ts; test/qemu/qemu-core.qemu.ts tests files of a real QEMU.
 * Gotcha: with paging, memory that no table maps is in the file, and no program header tells where it belongs.
 */
import t from 'tap'
import { DR6_RESET, DR7_RESET } from '../../lib/abi/x86.js'
import { pagingLevels } from '../../lib/guest/translate.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  translate,
  writeElfCore,
  writeSnapshot,
} from '../../lib/index.js'
import { encodeNote } from '../../lib/snapshot/elf-file.js'
import { pvhKernelFile } from '../fixtures/kernels.js'
import { QEMU_CODE, type QemuCoreOptions, qemuCore, qemuPages } from '../fixtures/qemu-core.js'
import { bytesOf, FORMATS, openMain, sameGuest, THROUGH } from '../fixtures/snapshots.js'

const open = (options: QemuCoreOptions = {}): Domain => openMain(bytesSource(qemuCore(options)))

const CASES: Readonly<Record<string, QemuCoreOptions>> = {
  'of a 64-bit guest': {},
  'of a 64-bit guest, by mapping': { paging: true },
  'of a 64-bit guest, with more program headers than e_phnum holds': { paging: true, aliases: 70_000 },
  'of a 32-bit guest with a ROM': { guest: 'i386' },
  'of a 32-bit guest, ELFCLASS32': { elfClass: 32 },
}

for (const [name, options] of Object.entries(CASES)) {
  t.test(`a core ${name}`, (t) => {
    const guest = open(options)
    const is64 = options.guest !== 'i386' && options.elfClass !== 32
    t.match(guest, { type: 'hvm', abi: is64 ? 'x86_64' : 'x86_32', boot: { kind: 'firmware' } })
    const wanted = [...qemuPages(options)].filter(([pfn]) => !options.paging || pfn < 0x80000)
    t.equal(guest.memory.pageCount, wanted.length)
    const wrong = wanted.filter(
      ([pfn, bytes]) => Buffer.compare(guest.memory.read(pfn * PAGE_SIZE, PAGE_SIZE), bytes) !== 0,
    )
    t.same(wrong, [])
    const [first, second] = guest.vcpus
    t.equal(pagingLevels(guest), is64 ? 4 : 3)
    t.equal(translate(guest, is64 ? QEMU_CODE.vaddr : QEMU_CODE.vaddr32)?.pfn, QEMU_CODE.pfn)
    t.match(first, {
      id: 0,
      registers: is64
        ? { rax: 0x1234n, rbx: 0xfedcba9876543210n, r15: 0xffff888000000000n, rip: QEMU_CODE.vaddr + 0x123n }
        : { rax: 0x1234n, rbx: 1n, rip: 0xc0000123n },
      efer: is64 ? 0x500n : 0n,
      cr0: 0x80050033n,
      cr4: 0x6f0n,
      dr6: BigInt(DR6_RESET),
      dr7: BigInt(DR7_RESET),
      gdtr: { base: 0xfffffe0000001000n, limit: 0x7f },
      tr: { selector: 0x40, descriptor: { base: 0xfffffe0000003000n, limit: 0x4087, attributes: 0x89 } },
    })
    t.same(first?.segments.cs.descriptor, { base: 0n, limit: 0xffffffff, attributes: is64 ? 0xa9b : 0xc9a })
    t.same(first?.segments.ds, { selector: 0 })
    t.same(first?.segments.gs, {
      selector: 0xd8,
      descriptor: { base: 0xffff88800f200000n, limit: 0xffffffff, attributes: 0x893 },
    })
    t.match(second, { id: 1, registers: { rip: 0xfff0n }, efer: 0n, cr0: 0x60000010n })
    t.same(second?.segments.cs, {
      selector: 0xf000,
      descriptor: { base: 0xffff0000n, limit: 0xffff, attributes: 0x9b },
    })
    t.same(
      guest.saved?.records.map(({ name, body }) => [name, body.length]),
      [
        ['QEMU', 440],
        ['QEMU', 440],
      ],
    )
    t.end()
  })
}

t.test('such a guest goes through every format that takes an HVM guest, and keeps the notes', (t) => {
  for (const guest of [open(), open({ elfClass: 32 })]) {
    for (const format of FORMATS) {
      if (['raw', 'xen-core', 'elf-core', 'kdump'].includes(format)) {
        const back = THROUGH[format](guest)
        sameGuest(t, back, guest, format)
        t.same(back.saved, guest.saved, `${format}: what is kept`)
      } else {
        t.throws(() => THROUGH[format](guest), { code: /^(does-not-fit|bad-config)$/ }, format)
      }
    }
  }
  t.end()
})

t.test("the notes are in our own core, as in QEMU's", (t) => {
  const ownersIn = (bytes: Uint8Array) =>
    [
      ...Buffer.from(bytes)
        .toString('latin1')
        .matchAll(/QEMU\0{4}/g),
    ].length
  t.equal(ownersIn(bytesOf(writeElfCore(open()))), 2)
  const raw = THROUGH.raw(open())
  t.equal(ownersIn(bytesOf(writeElfCore(raw))), 2, 'after another format')
  t.end()
})

t.test('a core of a guest that has not run has no note of QEMU', async (t) => {
  const built = buildDomain(await readKernel(pvhKernelFile({ paddr: 0x100000 })), { type: 'pvh', memory: 2 ** 21 })
  t.notOk(Buffer.from(bytesOf(writeElfCore(built))).includes('QEMU\0'))
})

t.test('QEMU and kexec do not start such a guest', (t) => {
  for (const format of ['qemu', 'kexec'] as const)
    t.throws(() => writeSnapshot(open(), format), { code: 'does-not-fit', found: 'hvm' })
  t.end()
})

t.test('what is refused', async (t) => {
  const refused = async (bytes: Uint8Array, message: RegExp, code = 'bad-snapshot'): Promise<void> => {
    await t.rejects(openSnapshot(bytesSource(bytes)), { code, message })
  }
  const changed = (change: (state: Uint8Array) => Uint8Array) => qemuCore({ note: change })
  await refused(
    changed((state) => state.subarray(0, 424)),
    /^ELF: QEMU's note of vcpu 0 is invalid: expected at least 432 bytes, found 424 \(file offset /,
  )
  await refused(
    changed((state) => Buffer.concat([Uint8Array.of(2), state.subarray(1)])),
    /^ELF: QEMU's note of vcpu 0 is invalid: expected version 1, found 2 /,
  )
  const core = Buffer.from(qemuCore({ paging: true, aliases: 70_000 }))
  const count = core.readUInt32LE(64 + 44)
  t.equal(count, 70_005, 'sh_info')
  core.writeUInt32LE(1 << 30, 64 + 44)
  await refused(
    core,
    /^ELF: the program header table is invalid: expected at most 262144 of 56 bytes, found 1073741824 /,
  )
  const memory = Buffer.from(qemuCore())
  // The first PT_LOAD is the second program header.
  const load = 192 + 56
  memory.writeBigUInt64LE(0x800n, load + 24)
  await refused(memory, /^ELF: a segment lies outside the guest: expected whole pages /)
  memory.writeBigUInt64LE(1n << 60n, load + 24)
  await refused(memory, /^ELF: a segment lies too high: /)
  const twice = Buffer.from(qemuCore())
  twice.copy(twice, load + 56 + 8, load + 8, load + 16)
  await refused(
    twice,
    /^ELF: a segment lies outside the guest: expected bytes that the guest has at one address only, found the bytes at 0x0 again /,
  )
  const state = new Uint8Array(440)
  const crowd = Array.from({ length: 4097 }, () => encodeNote({ owner: 'QEMU', type: 0, desc: state }))
  await refused(
    qemuCore({ notes: Buffer.concat(crowd) }),
    /^ELF: the number of vcpus is too large: expected at most 4096, found 4097 /,
  )
  memory.writeUInt32LE(6, load)
  memory.writeUInt32LE(6, load + 56)
  await refused(memory, /^ELF: the guest has no memory: /)
})
