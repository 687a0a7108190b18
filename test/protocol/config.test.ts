/**
 * A configuration has one shape for each type. Thirty invalid ones do not compile and are refused at run time in one
 * line; valid ones pass both.
 *
 * Source: ../../lib/protocol/config.ts.
 * Gotcha: @ts-expect-error covers only the next line, so an entry is a call on one line. tsc fails the build if an
 * entry compiles.
 */
import t from 'tap'
import { buildDomain, type DomainConfig, type Kernel, readKernel } from '../../lib/index.js'
import { buildBzImage, patternBytes } from '../../lib/testing/index.js'
import { firmwareFile } from '../fixtures/foreign-kernels.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const memory = 64 * 2 ** 20
const bytes = new Uint8Array(100)
const kernels = {
  pv: await readKernel(pvKernelFile()),
  pvh: await readKernel(pvhKernelFile()),
  linux: await readKernel(linuxKernelFile()),
}
const hostRam = [{ start: 0, end: memory }]
const WHOLE = { start: 0, end: memory }
const SCREEN = { font_height: 16, cursor_x: 0, cursor_y: 0, rows: 25, columns: 80 }

type Wrong = readonly [line: string, build: (kernel: Kernel) => unknown]

/** An unknown key, with the key that was meant. */
const MISSPELT: readonly Wrong[] = [
  [
    'the configuration has an unknown key vcpu: did you mean vcpus?',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, vcpu: 2 }),
  ],
  [
    'the configuration has an unknown key cmdLine: did you mean cmdline?',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { memory, cmdLine: 'quiet' }),
  ],
  [
    'the configuration has an unknown key acpl: did you mean acpi?',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, acpl: 'none' }),
  ],
  [
    'the configuration has an unknown key ramdiskAdress: did you mean ramdiskAddress?',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, ramdiskAdress: 0 }),
  ],
  [
    'a module has an unknown key cmdlin: did you mean cmdline?',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, ramdisk: [{ bytes, cmdlin: 'x' }] }),
  ],
  [
    'dom0 has an unknown key consol: did you mean console?',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, dom0: { consol: { text_mode_3: SCREEN } } }),
  ],
  [
    'a range of vmemranges has an unknown key type: expected one of start, end',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, vmemranges: [{ start: 0, end: memory, type: 1 }] }),
  ],
]

/** A key that only another type has. */
const FOREIGN: readonly Wrong[] = [
  [
    'entry is for type linux; this guest is pv',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, entry: 64 }),
  ],
  [
    'features is for type pv; this guest is pvh',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, features: 'writable_page_tables' }),
  ],
  [
    'p2m is for type pv; this guest is linux',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, p2m: 'identity' }),
  ],
  [
    'platform is for type pvh; this guest is linux',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, platform: 'pc' }),
  ],
  [
    'loadAddress is for type pvh or linux; this guest is pv',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, loadAddress: 0x200000 }),
  ],
  [
    'entry is for type linux; this guest has no type',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { memory, entry: 64 }),
  ],
  [
    'reserve is for type pvh or linux; this guest has no type',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'auto', memory, reserve: [] }),
  ],
  [
    'dom0 is for type pv or pvh; this guest has no type',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { memory, dom0: {} }),
  ],
]

/** Keys that exclude each other; each alone is valid. */
const CONTRADICTIONS: readonly Wrong[] = [
  [
    "type linux is invalid for a guest that Xen starts: expected purpose 'vmm', or type 'pv' or 'pvh' if the kernel supports it, found purpose 'restore'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, purpose: 'restore' }),
  ],
  [
    "type linux is invalid for a guest that Xen starts: expected purpose 'vmm', or type 'pv' or 'pvh' if the kernel supports it, found purpose 'create'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, purpose: 'create' }),
  ],
  [
    "platform pc is invalid for a guest that Xen starts: expected platform 'xen', or purpose 'vmm', found purpose 'restore'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, platform: 'pc', purpose: 'restore' }),
  ],
  [
    "a dom0 cannot be restored: expected purpose 'create' or 'vmm', found 'restore'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, dom0: {}, purpose: 'restore' }),
  ],
  [
    'storeEvtchn is invalid for a dom0: expected no xenstore or console, found 1',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, dom0: {}, storeEvtchn: 1 }),
  ],
  [
    'console of dom0 cannot be used: expected one of text_mode_3, vesa_lfb, efi_lfb, found none',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, dom0: { console: {} } }),
  ],
  [
    "a dom0 cannot be restored: expected purpose 'create' or 'vmm', found 'restore'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, dom0: { hostRam }, purpose: 'restore' }),
  ],
  [
    "acpi is invalid for a dom0: expected the host's, found 'xen'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, dom0: { hostRam }, acpi: 'xen' }),
  ],
  [
    "hostRam of dom0 is missing: expected the usable ranges of the host's e820, found none",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, dom0: {} }),
  ],
  [
    'dom0 has an unknown key console: expected one of hostRam',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pvh', memory, dom0: { hostRam, console: {} } }),
  ],
  [
    'p2m cannot be used: expected one of offset, table, ranges, function, found offset and ranges',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, p2m: { offset: 1, ranges: [] } }),
  ],
  [
    'hardware_subarch pc requires ring 0 without paging: expected subarch lguest or xen, found subarch pc, ring 1, paging false',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, subarch: 'pc', ring: 1 }),
  ],
  [
    "the Linux boot protocol has no command line for a ramdisk: expected a ramdisk without one, found 'x'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, ramdisk: [{ bytes, cmdline: 'x' }] }),
  ],
]

/** An invalid value for its key. */
const VALUES: readonly Wrong[] = [
  [
    'memory (bytes) cannot be used: expected an integer from 4096 to 4503599627370496, found undefined',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv' }),
  ],
  [
    "memory (bytes) cannot be used: expected an integer from 4096 to 4503599627370496, found '64M'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { memory: '64M' }),
  ],
  [
    "type hvm is not supported, since firmware starts an HVM guest: expected pv or pvh or linux or auto, found 'hvm'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'hvm', memory }),
  ],
  [
    "purpose cannot be used: expected create or restore or vmm, found 'migrate'",
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { memory, purpose: 'migrate' }),
  ],
  [
    'entry cannot be used: expected 16 or 32 or 64, found 8',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, entry: 8 }),
  ],
  [
    'virtualOffset cannot be used: expected a bigint of 64 bits, found 4096',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'linux', memory, virtualOffset: 4096 }),
  ],
  [
    'vmemranges cannot be used: expected a list, found object',
    // @ts-expect-error
    (kernel) => buildDomain(kernel, { type: 'pv', memory, vmemranges: WHOLE }),
  ],
]

t.test('what does not compile is refused in one line', async (t) => {
  const all = [...MISSPELT, ...FOREIGN, ...CONTRADICTIONS, ...VALUES]
  t.ok(all.length >= 30)
  for (const [message, build] of all) {
    for (const kernel of Object.values(kernels)) {
      t.throws(() => build(kernel), { name: 'DomainBuilderError', code: 'bad-config', message }, message)
    }
  }
})

t.test('what is right compiles, and is built', async (t) => {
  buildDomain(kernels.pv, { memory }).type satisfies string
  for (const purpose of ['create', 'restore', 'vmm'] as const) {
    t.equal(buildDomain(kernels.pv, { type: 'pv', memory, purpose, storeEvtchn: 7 }).type, 'pv')
    t.equal(buildDomain(kernels.pvh, { type: 'pvh', memory, purpose, acpi: 'none' }).type, 'pvh')
  }
  // One of several types, as a service gets it from its caller.
  for (const type of ['pv', 'pvh', 'linux', 'auto'] as const) {
    const kernel = type === 'auto' ? kernels.pv : kernels[type]
    t.equal(buildDomain(kernel, { type, memory, ramdisk: bytes, vcpus: 2 }).vcpus.length, 2)
  }
  const { boot } = buildDomain(kernels.linux, { type: 'linux', memory, purpose: 'vmm', subarch: 'xen', entry: 64 })
  t.ok(boot.startInfo, "an overload's own type")
  const dom0 = buildDomain(kernels.pv, {
    type: 'pv',
    memory,
    dom0: { console: { text_mode_3: SCREEN } },
    purpose: 'vmm',
  })
  t.equal(dom0.boot.console, undefined)
})

t.test('undefined is absent', async (t) => {
  const absent = { vcpus: undefined, entry: undefined, nonsense: undefined, purpose: undefined, dom0: undefined }
  t.same(
    buildDomain(kernels.pv, { type: 'pv', memory, ...absent } as never).vcpus,
    buildDomain(kernels.pv, { type: 'pv', memory }).vcpus,
  )
})

t.test('a purpose decides what auto considers', async (t) => {
  const firmware = await readKernel(firmwareFile())
  const both = await readKernel(pvKernelFile({ notes: { PHYS32_ENTRY: 0x100000 } }))
  const typeOf = (kernel: Kernel, config: Partial<DomainConfig>) =>
    buildDomain(kernel, { memory, ...config } as DomainConfig).type
  t.equal(typeOf(both, {}), 'pv')
  t.equal(typeOf(both, { purpose: 'create' }), 'pv')
  t.equal(typeOf(both, { purpose: 'restore' }), 'pv')
  t.equal(typeOf(kernels.pv, { purpose: 'vmm' }), 'pv')
  t.equal(typeOf(kernels.linux, { purpose: 'vmm' }), 'linux')
  t.throws(() => typeOf(firmware, { purpose: 'vmm' }), { code: 'not-pvh' }, 'nothing in it speaks of Linux')
  const image = await readKernel(
    buildBzImage({ payload: patternBytes(9000), header: { init_size: 2 ** 20, payload_length: 0 } }),
  )
  t.equal(typeOf(image, {}), 'linux')
  t.equal(typeOf(image, { purpose: 'vmm' }), 'linux')
  t.equal(typeOf(kernels.pvh, { purpose: 'vmm' }), 'pvh')
  for (const purpose of ['create', 'restore'] as const) {
    t.throws(() => typeOf(image, { purpose }), { code: 'not-xen-pv' }, `no Xen can ${purpose} it`)
  }
})

t.test('a purpose decides the platform of a PVH guest', async (t) => {
  const isXen = (config: Partial<DomainConfig>) =>
    buildDomain(kernels.pvh, { type: 'pvh', memory, ...config } as DomainConfig & { type: 'pvh' }).boot.hvmParams
      .length > 0
  t.ok(isXen({}))
  t.ok(isXen({ purpose: 'create' }))
  t.ok(isXen({ purpose: 'restore' }))
  t.notOk(isXen({ purpose: 'vmm' }))
  t.notOk(isXen({ platform: 'pc' } as never), 'whose purpose is vmm then')
  t.ok(isXen({ purpose: 'vmm', platform: 'xen' } as never), "a hypervisor that gives Xen's pages")
  t.throws(() => isXen({ purpose: 'create', platform: 'pc' } as never), { code: 'bad-config' })
})
