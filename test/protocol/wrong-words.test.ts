/**
 * Configurations without a type check, from a JSON file or from JavaScript: refused in one line, never by a TypeError.
 *
 * Source: lib/protocol/config.ts and its neighbours.
 * Gotcha: without `as never`, they do not compile.
 */
import { test } from 'tap'
import {
  buildDomain,
  DomainBuilderError,
  type DomainConfig,
  openSnapshot,
  readKernel,
  readVirtual,
  sniffSnapshot,
} from '../../lib/index.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const WRONG = {
  pv: [
    { memory: '64M' },
    { memory: Number.NaN },
    { vcpus: 1.5 },
    { cmdline: 5 },
    { ramdisk: 'initrd.img' },
    { vmemranges: 5 },
    { p2m: 'x' },
    { p2m: { offset: -1 } },
    { sharedInfoMfn: 0.5 },
    { storeEvtchn: -1 },
    { features: 5 },
    { features: 'writable_page_tables|writeable' },
    { type: 'hvm' },
  ],
  linux: [
    { entry: 5 },
    { image: 'x' },
    { loadAddress: -1 },
    { virtualOffset: 5 },
    { reserve: 5 },
    { reserve: [{ start: 5, end: 1 }] },
    { memmap: {} },
    { within: 5 },
    { elfcorehdr: 'x' },
    { subarch: 'x' },
    { ring: 7 },
    { setupData: 5 },
  ],
  pvh: [{ platform: 'x' }, { acpi: 'x' }, { startInfoVersion: 7 }, { loadAddress: 'x' }, { reserve: {} }],
} as const

test('every wrong word is refused by name', async (t) => {
  const kernels = {
    pv: await readKernel(pvKernelFile()),
    linux: await readKernel(linuxKernelFile()),
    pvh: await readKernel(pvhKernelFile()),
  }
  for (const type of ['pv', 'linux', 'pvh'] as const) {
    for (const wrong of WRONG[type]) {
      const config = { type, memory: 64 << 20, ...wrong } as unknown as DomainConfig
      t.throws(() => buildDomain(kernels[type], config), DomainBuilderError, JSON.stringify(wrong))
    }
  }
  for (const none of [undefined, null, 'pv']) {
    t.throws(() => buildDomain(kernels.pv, none as never), { code: 'bad-config' })
  }
  const guest = buildDomain(kernels.pv, { type: 'pv', memory: 16 << 20 })
  for (const length of [-1, Number.NaN, 2 ** 40]) {
    t.throws(() => guest.memory.read(0, length), { code: 'not-mapped' })
    t.throws(() => readVirtual(guest, 0xffffffff80000000n, length), DomainBuilderError)
  }
})

/** An object that throws when it is inspected. */
const trap = new Proxy(
  {},
  {
    get: () => {
      throw new Error('get')
    },
    ownKeys: () => {
      throw new Error('keys')
    },
  },
)
/** A proxy that throws at every access. */
const revoked = (() => {
  const { proxy, revoke } = Proxy.revocable([], {})
  revoke()
  return proxy
})()
const bare = (values: object = {}) => Object.assign(Object.create(null), values)
/** Bytes whose buffer was transferred to another thread. */
const transferred = (): Uint8Array => {
  const bytes = new Uint8Array(100)
  structuredClone(bytes, { transfer: [bytes.buffer] })
  return bytes
}
const throwing = {
  get memory() {
    throw new Error('no')
  },
}
/** Values that are invalid for every key. */
const NOTHINGS = [
  null,
  bare(),
  trap,
  revoked,
  [null],
  [bare()],
  [trap],
  [revoked],
  new Array(2 ** 31),
  Symbol('s'),
  2n ** 70n,
]
const KEYS = {
  pv: [
    ...['features', 'p2m', 'vmemranges', 'flags', 'storeEvtchn', 'consoleEvtchn', 'storeDomid', 'consoleDomid'],
    ...['sharedInfoMfn', 'dom0', 'multibootModules', 'lowMfn'],
  ],
  pvh: ['platform', 'acpi', 'startInfoVersion', 'loadAddress', 'reserve', 'dom0'],
  linux: [
    ...[
      'entry',
      'image',
      'loadAddress',
      'virtualOffset',
      'ramdiskAddress',
      'reserve',
      'within',
      'memmap',
      'elfcorehdr',
    ],
    ...['subarch', 'paging', 'ring', 'setupData'],
  ],
}
const COMMON = [
  'memory',
  'vcpus',
  'cmdline',
  'ramdisk',
  'maxmem',
  'name',
  'purpose',
  'xen',
  'settings',
  'policies',
  'type',
]

test('hostile values are one line each', async (t) => {
  const kernels = {
    pv: await readKernel(pvKernelFile()),
    linux: await readKernel(linuxKernelFile()),
    pvh: await readKernel(pvhKernelFile()),
  }
  const memory = 64 << 20
  const refused = (type: keyof typeof kernels, config: unknown, what: string, code: string | RegExp = 'bad-config') => {
    try {
      buildDomain(kernels[type], config as DomainConfig)
      t.fail(`${type} ${what} is refused`)
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      t.match(error.code, code, what)
      t.notMatch(error.message, /\n/)
      t.ok(error.message.length < 400, error.message.slice(0, 400))
    }
  }
  for (const type of ['pv', 'pvh', 'linux'] as const) {
    for (const key of [...COMMON, ...KEYS[type]]) {
      for (const [i, value] of NOTHINGS.entries()) {
        // The dom0 of a PV guest may be an object without prototype and without a console.
        if (key === 'dom0' && type === 'pv' && i === 1) continue
        // Settings may be empty.
        if (key === 'settings' && type !== 'linux' && i === 1) continue
        refused(type, { type, memory, [key]: value }, `${key} ${i}`)
      }
    }
    for (const whole of [
      null,
      undefined,
      [],
      'x',
      5,
      trap,
      revoked,
      throwing,
      bare(),
      bare({ type }),
      new Map(),
      bare,
    ]) {
      refused(type, whole, 'all of it')
    }
    refused(type, { type, memory, ['x'.repeat(1e6)]: 1 }, 'a long key')
    refused(type, { type, memory, name: 5, cmdline: 'x'.repeat(1e6) }, 'a long text')
    refused(type, { type, memory, vcpus: 'x'.repeat(1e6) }, 'a long text for a number')
    refused(type, { type, memory, ramdisk: transferred() }, 'a ramdisk that was transferred')
    refused(type, { type, memory, ramdisk: [transferred()] }, 'a module that was transferred')
    refused(type, { type, memory, ramdisk: [{ bytes: transferred() }] }, 'a module that was transferred')
    refused(type, { type, memory, ramdisk: new Float64Array(8) }, 'no bytes')
    refused(type, { type, memory, ramdisk: new Proxy(new Uint8Array(8), {}) }, 'a proxy of bytes')
    refused(type, { type, memory, ramdisk: Array(257).fill(new Uint8Array(1)) }, 'too many modules')
  }
  const pv = (config: object, what: string) => refused('pv', { type: 'pv', memory, ...config }, what)
  for (const [what, p2m] of Object.entries({
    'no frame': { offset: 2 ** 41 },
    'a short table': { table: new BigUint64Array(3) },
    'a table of numbers': { table: new Float64Array(16384) },
    'a proxy of a table': { table: new Proxy(new BigUint64Array(16384), {}) },
    'too many ranges': { ranges: new Array(2 ** 31) },
    'more ranges than pages': { ranges: Array(16385).fill({ pfn: 0, mfn: 0, pages: 1 }) },
    'a range of nothing': { ranges: [null] },
    'a function that gives no frame': { function: () => bare() },
    'a function that gives text': { function: () => '5' },
    'no function': { function: 'x' },
    'a named offset': { offset: 1, name: 'x' },
  })) {
    pv({ p2m }, what)
  }
  pv(
    { dom0: { console: { text_mode_3: { font_height: '16', cursor_x: 0, cursor_y: 0, rows: 0, columns: 0 } } } },
    'text',
  )
  pv({ dom0: { console: { text_mode_3: { font_height: 16 } } } }, 'half a screen')
  pv({ vmemranges: Array(1025).fill({ start: 0, end: 4096 }) }, 'too many ranges')
  pv({ cmdline: 'x'.repeat(1024) }, 'a command line that is too long')
  pv({ ramdisk: [{ bytes: new Uint8Array(1), cmdline: 'lost' }] }, 'a command line that the guest never sees')
  const linux = (config: object, what: string, code?: string) =>
    refused('linux', { type: 'linux', memory, ...config }, what, code)
  linux({ setupData: Array(65).fill({ type: 1, data: new Uint8Array(1) }) }, 'too many nodes')
  linux({ setupData: [{ type: 1, data: transferred() }] }, 'a node that was transferred')
  linux({ elfcorehdr: transferred() }, 'a header that was transferred')
  const pages = Array.from({ length: 1024 }, (_, i) => ({ start: i * 0x8000, end: i * 0x8000 + 0x1000 }))
  linux({ reserve: [...pages, { start: 0x7000000, end: 0x8000000 }] }, 'too many ranges')
  linux({ memmap: pages.filter(({ start }) => start < 0xa0000 || start >= 0x100000) }, 'many ranges', 'does-not-fit')
})

test('a snapshot is opened from a source', async (t) => {
  for (const none of [undefined, null, new Uint8Array(9), {}, 'guest.xl']) {
    await t.rejects(openSnapshot(none as never), { code: 'bad-config', message: /bytesSource/ })
    await t.rejects(sniffSnapshot(none as never), { code: 'bad-config' })
  }
})
