/**
 * The qemu format, without QEMU: written files read back, the refusals, and the ROM's fixed addresses.
 *
 * Source: docs/formats.md, "The qemu format"; test/qemu tests the ROM on a processor.
 * Gotcha: a sidecar may be untrusted, so nothing in it may become an argument of a program.
 */
import t from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  type LinuxConfig,
  readBootParams,
  readKernel,
  writeSnapshot,
} from '../../lib/index.js'
import { qemuArguments, qemuRom } from '../../lib/snapshot/qemu.js'
import { optionRom } from '../../lib/snapshot/qemu-option-rom.js'
import { bootRom } from '../../lib/snapshot/qemu-rom.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, mainOf, openPair, sidecarOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const GiB = 2 ** 30

async function build(config: Partial<LinuxConfig> = {}, bits: 32 | 64 = 64): Promise<Domain> {
  const file = buildElf({
    class: bits,
    entry: 0x1000000,
    segments: [{ paddr: 0x1000000, data: patternBytes(5000), memsz: 9000 }],
  })
  return buildDomain(await readKernel(file), {
    memory: 64 * MiB,
    cmdline: 'x',
    ramdisk: patternBytes(777, 4),
    ...config,
    type: 'linux',
  })
}

const written = (domain: Domain) => ({ memory: bytesOf(mainOf(domain, 'qemu')), json: sidecarOf(domain, 'qemu') })

t.test('what is written is the guest again, and an ELF whose segments are its memory', async (t) => {
  for (const memory of [64 * MiB, 5 * GiB]) {
    const domain = await build({ memory })
    const { memory: file, json } = written(domain)
    const back = openPair(json, bytesSource(file))
    t.same(back.vcpus, domain.vcpus)
    t.same(back.memory.ranges, domain.memory.ranges)
    t.same(readBootParams(back), readBootParams(domain))
    t.same(back.memory.read(0x1000000, 9000), domain.memory.read(0x1000000, 9000))
    t.same(written(back), { memory: file, json }, 'and the same bytes again')
    const { elf } = await readKernel(file)
    for (const { paddr, filesz, offset } of elf?.segments ?? []) {
      const same = Buffer.compare(file.subarray(offset, offset + filesz), domain.memory.read(Number(paddr), filesz))
      t.equal(same, 0, `segment at ${paddr.toString(16)}`)
      t.equal(Number(paddr) % PAGE_SIZE, 0)
    }
    const args = qemuArguments(domain, 'a/guest')
    t.equal(args[args.indexOf('-m') + 1], `${memory / 1024}K`, 'the machine has the memory that was asked for')
  }
})

t.test('a ROM is 64 KiB, begins at the reset vector, and depends on the state alone', async (t) => {
  const [vcpu] = (await build()).vcpus
  if (!vcpu) throw new Error('no vcpu')
  const rom = bootRom(vcpu, 0x9e000)
  t.equal(rom.length, 0x10000)
  t.equal(rom[0xfff0], 0xe9, 'a near jump')
  t.equal((0xfff3 + Buffer.from(rom).readInt16LE(0xfff1)) & 0xffff, 0xff00)
  t.same(bootRom(vcpu, 0x9e000), rom)
  t.notSame(bootRom({ ...vcpu, registers: { ...vcpu.registers, rsi: 1n } }, 0x9e000), rom)
  const refused = { code: 'does-not-fit' }
  t.throws(() => bootRom({ ...vcpu, cr3: 1n << 32n }, 0x9e000), refused)
  t.throws(() => bootRom({ ...vcpu, cr0: 0n }, 0x9e000), refused)
  const { gdtr: _gdtr, ...noGdt } = vcpu
  t.ok(bootRom(noGdt, 0x9e000), 'without a GDT of the guest, one is made of its descriptors')
  const ds = { selector: 0, descriptor: vcpu.segments.ds.descriptor ?? { base: 0n, limit: 0, attributes: 0 } }
  t.throws(() => bootRom({ ...noGdt, segments: { ...vcpu.segments, ds } }, 0x9e000), refused)
})

t.test('an option ROM is what a BIOS takes for one, and carries what lies below 1 MiB', async (t) => {
  const header = { payload_length: 0, init_size: 0 }
  const image = buildBzImage({ payload: patternBytes(5000), header })
  const domain = buildDomain(await readKernel(image), { type: 'linux', entry: 16, memory: 64 * MiB, cmdline: 'hello' })
  const rom = qemuRom(domain)
  t.same([rom[0], rom[1]], [0x55, 0xaa])
  t.equal((rom[2] ?? 0) * 512, rom.length, 'its size')
  t.equal(rom.reduce((sum, byte) => sum + byte, 0) & 0xff, 0, 'its checksum')
  t.ok(Buffer.from(rom).includes(Buffer.from(domain.memory.read(0x10000, 0x800))), 'boot sector and setup code')
  t.ok(Buffer.from(rom).includes('hello\0'), 'the command line')
  const { memory, json } = written(domain)
  const back = openPair(json, bytesSource(memory))
  t.same(qemuRom(back), rom, 'the same of a guest read back')
  const args = qemuArguments(domain, 'guest')
  t.equal(args[args.indexOf('-option-rom') + 1], 'guest.rom')
  t.notOk(args.includes('-bios'), 'the BIOS stays in place')

  const [vcpu] = domain.vcpus
  if (!vcpu) throw new Error('no vcpu')
  t.throws(() => optionRom(vcpu, [{ paddr: 0x10000, bytes: new Uint8Array(0xf001) }]), {
    code: 'does-not-fit',
    message: /at most 0xf000 bytes, found 0xf001/,
  })
  const moved = { ...vcpu.segments.ds, descriptor: { base: 1n, limit: 0xffff, attributes: 0x93 } }
  t.throws(() => optionRom({ ...vcpu, segments: { ...vcpu.segments, ds: moved } }, []), {
    code: 'does-not-fit',
    message: /ds base cannot be set by an option ROM: expected 0x10000, found 0x1/,
  })
  t.throws(() => optionRom({ ...vcpu, registers: { ...vcpu.registers, rip: 0x10000n } }, []), { code: 'does-not-fit' })
})

t.test('a guest that needs Xen is refused', async (t) => {
  const pv = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 32 * MiB })
  t.throws(() => writeSnapshot(pv, 'qemu'), { code: 'does-not-fit', message: /needs Xen/ })
})

t.test('a sidecar that lies is refused, and its command is not believed', async (t) => {
  const { memory, json } = written(await build())
  const change = (edit: (sidecar: Record<string, never>) => void): string => {
    const sidecar = JSON.parse(json)
    edit(sidecar)
    return JSON.stringify(sidecar)
  }
  const refuses = (text: string, pattern: RegExp, file = memory) => {
    try {
      openPair(text, bytesSource(file)).memory.read(0x1000000, 16)
      t.fail(`not refused: ${pattern}`)
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      t.match(error.message, pattern)
    }
  }
  type Loose = { [key: string]: Loose & (number | string | Loose[])[] & (number | string) }
  const set = (edit: (sidecar: Loose) => void) => change(edit as never)
  refuses(
    set((s) => {
      Object.assign(s, { version: 2 })
    }),
    /version/,
  )
  refuses(
    set((s) => {
      Object.assign(s.memory ?? {}, { data: [[1, 2]] })
    }),
    /pfn, pages and offset/,
  )
  refuses(
    set((s) => {
      Object.assign(s.memory ?? {}, { data: [[0x1000, 1, 2 ** 50]] })
    }),
    /ends too early/,
  )
  refuses(
    set((s) => {
      Object.assign(s.memory ?? {}, { data: [[2 ** 30, 1, 0]] })
    }),
    /pages that the guest has/,
  )
  refuses(
    set((s) => {
      Object.assign(s.memory ?? {}, { pages: 7 })
    }),
    /bytes cannot be used|pages cannot be used/,
  )
  refuses(
    set((s) => {
      Object.assign(s, { bootParams: { paddr: '0xfffffffff000' } })
    }),
    /boot_params in the memory/,
  )
  const evil = set((s) => {
    Object.assign(s, { qemu: { command: ['rm', '-rf', '/'] } })
  })
  t.notOk(qemuArguments(openPair(evil, bytesSource(memory)), 'guest').includes('-rf'))
})

t.test('a boot ROM wants a page below 4 GiB', async (t) => {
  const [vcpu] = (await build()).vcpus
  if (!vcpu) return t.fail('no vcpu')
  t.equal(bootRom(vcpu, 0x9e000).length, 0x10000)
  for (const page of [Number.NaN, -4096, 0x9e001, 2 ** 32]) {
    t.throws(() => bootRom(vcpu, page), { code: 'bad-config', message: /the trampoline page/ })
  }
})
