/**
 * Variants of boot information: each is a legal guest that differs from the configuration's in what its name says.
 *
 * Source: the specification that each variant names.
 * Gotcha: a variant that silently equals the base would let every kernel pass, so each is compared with the base.
 */
import t, { type Test } from 'tap'
import { SIF_MOD_START_PFN } from '../../lib/abi/start-info.js'
import {
  buildDomain,
  type Domain,
  DomainBuilderError,
  type DomainConfig,
  type Kernel,
  readKernel,
  translate,
  validate,
} from '../../lib/index.js'
import {
  type BootInfoVariant,
  bootInfoVariants,
  buildBzImage,
  patternBytes,
  readBootParams,
  readHvmStartInfo,
  readStartInfo,
} from '../../lib/testing/index.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const ramdisk = patternBytes(5000)
const common = { memory: 64 * MiB, cmdline: 'console=ttyS0', ramdisk, vcpus: 2 } as const

/** Returns the variants by name, each built. The refused ones have their error. */
function built(variants: readonly BootInfoVariant[]): Map<string, Domain | DomainBuilderError> {
  return new Map(
    variants.map(({ name, build }): [string, Domain | DomainBuilderError] => {
      try {
        return [name, build()]
      } catch (error) {
        if (error instanceof DomainBuilderError) return [name, error]
        throw error
      }
    }),
  )
}

async function checked(t: Test, file: Uint8Array, config: DomainConfig, refused: readonly string[] = []) {
  const kernel = await readKernel(file)
  const base = buildDomain(kernel, config)
  const before = lowMemory(base)
  const variants = bootInfoVariants(kernel, config)
  t.equal(new Set(variants.map(({ name }) => name)).size, variants.length, 'names are unique')
  for (const { name, rule, source } of variants) {
    t.match(name, /^[a-z0-9-]+$/)
    t.match(rule, /^[A-Za-z].*\.$/, `${name} has its rule`)
    t.match(source, /^(Xen|Linux) [\w./-]+/, `${name} has its source`)
  }
  const found = built(variants)
  const errors = [...found].filter(([, guest]) => guest instanceof DomainBuilderError).map(([name]) => name)
  t.same(errors, refused, 'what this kernel forbids')
  const guests = new Map(
    [...found].flatMap(([name, guest]) => (guest instanceof DomainBuilderError ? [] : [[name, guest] as const])),
  )
  for (const [name, guest] of guests) {
    t.equal(guest.type, base.type)
    t.notOk(sameInstant(guest, base), `${name} differs`)
    if (guest.type === 'pv') t.same([...validate(guest)], [], `${name} keeps Xen's rules`)
  }
  t.ok(lowMemory(base).equals(before), 'the memory of the first guest stays as it was')
  const get = (name: string): Domain => {
    const guest = guests.get(name)
    if (guest === undefined) throw new Error(`no variant ${name}`)
    return guest
  }
  return { kernel, base, get, guests }
}

/** The first 16 MiB of a guest; holes are zero. */
function lowMemory({ memory }: Domain): Buffer {
  const out = new Uint8Array(16 * MiB)
  for (const { start, end } of memory.ranges) {
    const to = Math.min(end * 4096, out.length)
    if (start * 4096 < to) memory.readInto(start * 4096, out.subarray(start * 4096, to))
  }
  return Buffer.from(out)
}

/** Whether two guests start alike: vcpus, frames, and the first 16 MiB of memory. */
function sameInstant(a: Domain, b: Domain): boolean {
  const text = (domain: Domain) =>
    JSON.stringify([domain.vcpus, domain.memory.ranges, domain.p2m.name, domain.p2m.mfn(0)], (_, value) =>
      typeof value === 'bigint' ? `${value}` : value,
    )
  return text(a) === text(b) && lowMemory(a).equals(lowMemory(b))
}

t.test('PVH', async (t) => {
  const modules = [{ bytes: ramdisk, cmdline: 'first' }, patternBytes(10)]
  const { base, get, guests } = await checked(t, pvhKernelFile({ paddr: 0x100000 }), {
    ...common,
    type: 'pvh',
    platform: 'pc',
    ramdisk: modules,
  })
  const info = (name: string) => readHvmStartInfo(get(name))
  const first = readHvmStartInfo(base)
  t.equal(info('version-0').fields.version, 0)
  t.match(info('no-memmap').fields, { version: 1, memmap_paddr: 0n, memmap_entries: 0 })
  t.same(info('memmap-unsorted').memmap, first.memmap.toReversed())
  t.ok((first.memmap[0]?.addr ?? 0n) < (first.memmap.at(-1)?.addr ?? 0n), 'it was sorted')
  const covered = (entries: typeof first.memmap) => entries.reduce((sum, { size }) => sum + size, 0n)
  t.equal(covered(info('memmap-split').memmap), covered(first.memmap))
  t.ok(info('memmap-split').memmap.length > 2 * first.memmap.length)
  t.equal(info('hole-at-0').memmap.find(({ type }) => type === 1)?.addr, 0x10000n)
  t.equal(info('no-rsdp').fields.rsdp_paddr, 0n)
  t.ok(first.fields.rsdp_paddr > 0n)
  t.ok(info('start-info-high').paddr > 60 * MiB, 'at the end of memory')
  t.equal(get('start-info-high').vcpus[0]?.registers.rbx, BigInt(info('start-info-high').paddr))
  t.same(
    info('start-info-high').modules.map(({ cmdline }) => cmdline),
    ['first', ''],
  )
  t.same(
    info('modules-without-cmdline').modules.map(({ cmdline_paddr }) => cmdline_paddr),
    [0n, 0n],
  )
  t.same(
    info('modules-with-cmdline').modules.map(({ cmdline }) => cmdline),
    ['module 0', 'module 1'],
  )
  const high = info('ramdisk-high').modules[0]
  t.equal(high?.paddr, 0x140000000n)
  t.same(get('ramdisk-high').memory.read(0x140000000, ramdisk.length), ramdisk)
  t.equal(info('ramdisk-none').fields.nr_modules, 0)
  t.equal(info('ramdisk-1-byte').modules[0]?.size, 1n)
  t.equal(info('modules-many').modules.length, 16)
  t.equal(info('cmdline-empty').fields.cmdline_paddr, 0n)
  t.equal(info('cmdline-longest').cmdline.length, 2047)
  t.match(info('cmdline-longest').cmdline, /^console=ttyS0 filler=x+$/)
  const registers = get('registers-pattern').vcpus[0]?.registers
  t.same([registers?.rbx, registers?.rip], [base.vcpus[0]?.registers.rbx, base.vcpus[0]?.registers.rip])
  t.ok(registers && registers.rax !== 0n && registers.rsp !== 0n && registers.rax < 2n ** 32n)
  t.equal((registers?.rflags ?? 0n) & 0x20300n, 0n, 'VM, IF and TF are clear')
  t.equal((registers?.rflags ?? 0n) & 0x400n, 0x400n, 'DF is set')
  t.notOk(
    get('memory-pattern')
      .memory.read(40 * MiB, 64)
      .every((byte) => byte === 0),
  )
  t.same(readHvmStartInfo(get('memory-pattern')), first, 'no structure is touched')
  t.equal(get('memory-least').memory.pageCount, 1024 - 96)
  t.equal(get('memory-1t').maxmem, 1024 * GiB)
  t.equal(get('vcpus-128').vcpus.length, 128)
  t.notOk(guests.has('vcpus-2'))
})

t.test('Linux', async (t) => {
  const image = buildBzImage({
    payload: linuxKernelFile(),
    header: { relocatable_kernel: 1, kernel_alignment: 2 * MiB, xloadflags: 3 },
  })
  const { base, get } = await checked(t, image, { ...common, type: 'linux' })
  const params = (name: string) => readBootParams(get(name))
  const first = readBootParams(base)
  const table = (name: string) => params(name).e820_table.slice(0, params(name).e820_entries)
  t.same(table('e820-unsorted'), first.e820_table.slice(0, first.e820_entries).toReversed())
  t.equal(params('e820-full').e820_entries, 128)
  t.ok(params('setup-data-unknown').hdr.setup_data > 0n)
  t.not(get('loaded-elsewhere').vcpus[0]?.registers.rip, base.vcpus[0]?.registers.rip)
  t.equal(params('ramdisk-high').ext_ramdisk_image, 1)
  t.equal(get('registers-pattern').vcpus[0]?.registers.rsi, base.vcpus[0]?.registers.rsi)
  t.not(get('registers-pattern').vcpus[0]?.registers.r15, 0n)
})

t.test('a kernel that only runs at its address, entered in real mode', async (t) => {
  const image = await readKernel(buildBzImage({ payload: linuxKernelFile(), header: { relocatable_kernel: 0 } }))
  const guests = built(bootInfoVariants(image, { ...common, type: 'linux', entry: 16 }))
  t.match(guests.get('loaded-elsewhere'), { code: /.+/ }, 'the header forbids another address')
  const guest = guests.get('memory-pattern') as Domain
  const isFilled = (paddr: number) => guest.memory.read(paddr, 64).some((byte) => byte !== 0)
  t.ok(isFilled(40 * MiB))
  t.notOk(isFilled(0x8000), 'a BIOS uses the memory below 1 MiB before the guest')
})

t.test('PV', async (t) => {
  // Its list of a terabyte's frames would leave no room for the kernel's own addresses.
  const { base, get } = await checked(t, pvKernelFile(), { ...common, type: 'pv' }, ['memory-1t'])
  const info = (name: string) => readStartInfo(get(name))
  t.equal(get('p2m-offset').p2m.mfn(3), 0x123459)
  t.equal((get('p2m-scattered').p2m.mfn(3) ?? 0) - (get('p2m-scattered').p2m.mfn(4) ?? 0), 1)
  t.equal(get('holes').memory.ranges.length, 2)
  t.equal(get('holes').memory.pageCount, base.memory.pageCount)
  t.match(info('channels'), { store_evtchn: 61, console_evtchn: 17 })
  t.equal(info('shared-info-elsewhere').shared_info, 0x2468ac000n)
  t.ok(info('ramdisk-in-modules').flags & 4, 'SIF_MULTIBOOT_MOD')
  t.equal(info('cmdline-longest').cmd_line.length, 1023, 'and a NUL')
  t.equal(info('ramdisk-none').mod_len, 0n)
  t.equal(info('ramdisk-1-byte').mod_len, 1n)
  t.not(get('registers-pattern').vcpus[0]?.registers.rax, 0n)
})

t.test('PV, by a kernel that permits a ramdisk without a mapping', async (t) => {
  const file = pvKernelFile({ notes: { MOD_START_PFN: 1 } })
  for (const [purpose, name] of [
    ['vmm', 'ramdisk-mapped'],
    ['restore', 'ramdisk-unmapped'],
  ] as const) {
    const { base, get } = await checked(t, file, { ...common, type: 'pv', purpose }, ['memory-1t'])
    for (const [guest, isUnmapped] of [
      [base, purpose === 'vmm'],
      [get(name), purpose !== 'vmm'],
    ] as const) {
      const { flags, mod_start } = readStartInfo(guest)
      t.equal((flags & SIF_MOD_START_PFN) !== 0, isUnmapped, `${name}: the flag`)
      t.equal(translate(guest, mod_start) === undefined, isUnmapped, 'the mapping')
    }
  }
})

t.test('a kernel may forbid variants; a dom0 has none', async (t) => {
  const kernel: Kernel = await readKernel(pvKernelFile())
  const forbidden = built(bootInfoVariants(await readKernel(linuxKernelFile(32)), { ...common, type: 'linux' }))
  t.match(forbidden.get('ramdisk-high'), { code: /.+/ }, 'a 32-bit kernel reads no ramdisk above 4 GiB')
  t.throws(() => bootInfoVariants(kernel, { ...common, type: 'pv', dom0: {} }), { code: 'bad-config' })
  t.same(
    bootInfoVariants(kernel, common).map(({ name }) => name),
    bootInfoVariants(kernel, { ...common, type: 'pv' }).map(({ name }) => name),
    'the type is found',
  )
})
