/**
 * Configurations: every key of every type, with valid values, nearly valid ones, and values that no compiler accepts.
 *
 * Source: the tables of keys in lib/protocol.
 * Gotcha: an object whose getter throws is an error of the caller, and would be reported here as a finding.
 */
import { buildDomain, type DomainConfig, type Kernel, readKernel } from '../../../lib/index.js'
import { COMMON_KEYS } from '../../../lib/protocol/common-config.js'
import { LINUX_KEYS } from '../../../lib/protocol/linux-config.js'
import { PV_KEYS } from '../../../lib/protocol/pv-config.js'
import { PVH_KEYS } from '../../../lib/protocol/pvh-config.js'
import { buildBzImage, patternBytes } from '../../../lib/testing/index.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../../fixtures/kernels.js'
import { Random } from '../../fixtures/random.js'
import { Choices } from '../choices.js'
import type { Target } from '../target.js'
import { orRefuse, useGuest } from './use-guest.js'

const MiB = 2 ** 20
const KEYS = { pv: PV_KEYS, pvh: PVH_KEYS, linux: LINUX_KEYS, auto: [] } as const
const OWN_KEYS = [...PV_KEYS, ...PVH_KEYS, ...LINUX_KEYS]

const detached = (): Uint8Array => {
  const bytes = new Uint8Array(100)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

type Make = (choices: Choices) => unknown

const NUMBERS = [0, 1, -1, 2, 127, 128, 129, 4095, 4096, 4097, 2 ** 16, 2 ** 20, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40]
const HUGE = [2 ** 52, 2 ** 53 - 1, 2 ** 53, 2 ** 64, 1e300, Infinity, -Infinity, Number.NaN, -0, 0.5, Number.MIN_VALUE]

/** Values that no key accepts, or few do. */
const hostile: readonly Make[] = [
  () => null,
  () => undefined,
  (c) => c.pick(HUGE),
  (c) => c.pick(NUMBERS),
  (c) => c.u64(),
  () => '',
  () => 'x'.repeat(5000),
  () => 'a\u0000b',
  () => '\ud800\u001b[31m\u202e\n',
  () => true,
  () => [],
  () => ({}),
  () => Object.create(null),
  () => Object.assign(Object.create(null), { bytes: new Uint8Array(3), start: 0, end: 4096 }),
  () => new Array(3),
  () => new Array(2000).fill(0),
  () => detached(),
  () => new Uint8Array(new SharedArrayBuffer(16)),
  () => new DataView(new ArrayBuffer(16)),
  () => new BigUint64Array(4),
  () => new Map([['start', 0]]),
  () => Symbol('x'),
  () => () => 0,
  () => new Date(0),
  () => new Proxy({}, {}),
  () => 10n,
]

const number: Make = (c) => c.pick(NUMBERS)
const address: Make = (c) => c.byte() * c.pick([1, 16, 0x1000, 0x10000, 0x100000, 0x1000000])
const bytes: Make = (c) => patternBytes(c.pick([0, 1, 100, 4096, 5000, 70_000]))
const boolean: Make = (c) => c.below(2) === 1
const text: Make = (c) =>
  c.pick([
    '',
    'quiet',
    'console=hvc0 root=/dev/xvda1',
    'x'.repeat(1023),
    'x'.repeat(1024),
    'é'.repeat(700),
    'elfcorehdr=1M',
  ])
const oneOf =
  (...values: readonly unknown[]): Make =>
  (c) =>
    c.pick(values)
const listOf =
  (make: Make): Make =>
  (c) =>
    Array.from({ length: c.below(5) }, () => value(make, c))
const objectOf =
  (makes: Readonly<Record<string, Make>>): Make =>
  (c) =>
    Object.fromEntries(
      Object.entries(makes).flatMap(([key, make]) => (c.below(8) === 0 ? [] : [[key, value(make, c)]])),
    )
const range: Make = (c) => {
  const start = Number(address(c))
  return { start: value(() => start, c), end: value(() => start + Number(address(c)), c) }
}

const SCREEN = objectOf(
  Object.fromEntries(['font_height', 'cursor_x', 'cursor_y', 'rows', 'columns'].map((name) => [name, number])),
)

/** Valid values, by key. */
const SUITABLE: Readonly<Record<string, Make>> = {
  memory: (c) => c.pick([8 * MiB, 32 * MiB, 64 * MiB, 4096 * c.byte(), 2 ** 32, 2 ** 36, MiB, 24 * MiB]),
  maxmem: (c) => c.pick([64 * MiB, 2 ** 32, 2 ** 40]),
  vcpus: (c) => c.byte(),
  cmdline: text,
  ramdisk: (c) => c.pick([bytes, listOf((d) => d.pick([bytes, objectOf({ bytes, cmdline: text })])(d))])(c),
  name: text,
  purpose: oneOf('create', 'restore', 'vmm'),
  xen: oneOf('4.14', '4.17', '4.20', '4.22', '4.9'),
  settings: objectOf({
    on_crash: text,
    disks: listOf(objectOf({ vdev: text })),
    b_info: objectOf({ vpmu: text, event_channels: number, arch_x86: objectOf({ msr_relaxed: text }) }),
    c_info: objectOf({ uuid: text, pool_name: text }),
  }),
  policies: listOf(
    objectOf({
      name: oneOf('X86_CPUID_POLICY', 'X86_MSR_POLICY', 'END'),
      body: (c) => new Uint8Array(c.pick([0, 16, 24, 48])),
    }),
  ),
  features: oneOf(
    '',
    'writable_page_tables',
    'writable_page_tables|auto_translated_physmap',
    'pae_pgdir_above_4gb',
    '|',
    'x',
  ),
  p2m: (c) =>
    c.pick<Make>([
      () => 'identity',
      objectOf({ offset: number }),
      objectOf({ table: (d) => BigUint64Array.from({ length: d.pick([0, 1, 2048, 8192]) }, (_, i) => BigInt(i ^ 1)) }),
      objectOf({ ranges: listOf(objectOf({ pfn: number, mfn: number, pages: number })) }),
      (d) => {
        const [turn, hole] = [d.byte(), d.byte()]
        return { function: (pfn: number) => (pfn % 256 === hole ? undefined : pfn ^ turn) }
      },
      (d) => {
        const answer = d.pick(hostile)(d)
        return { function: () => answer }
      },
    ])(c),
  vmemranges: listOf(range),
  flags: number,
  storeEvtchn: number,
  consoleEvtchn: number,
  storeDomid: number,
  consoleDomid: number,
  sharedInfoMfn: number,
  dom0: (c) =>
    c.pick([
      objectOf({ console: (d) => d.pick([objectOf({ text_mode_3: SCREEN }), objectOf({ vesa_lfb: SCREEN })])(d) }),
      objectOf({ hostRam: listOf(range) }),
    ])(c),
  multibootModules: boolean,
  lowMfn: number,
  platform: oneOf('xen', 'pc'),
  acpi: oneOf('none', 'xen', 'pc', 'reduced'),
  startInfoVersion: oneOf(0, 1),
  loadAddress: address,
  reserve: listOf(range),
  entry: oneOf(16, 32, 64),
  image: oneOf('bzImage', 'vmlinux'),
  virtualOffset: (c) => BigInt(Number(address(c))) << BigInt(c.below(40)),
  ramdiskAddress: address,
  within: range,
  memmap: listOf(range),
  elfcorehdr: bytes,
  subarch: oneOf('pc', 'lguest', 'xen'),
  paging: boolean,
  ring: oneOf(0, 1, 3),
  setupData: listOf(objectOf({ type: number, data: bytes })),
}

/** Makes a valid value mostly, and any value sometimes. */
const value = (make: Make, c: Choices): unknown => (c.below(16) === 15 ? c.pick(hostile)(c) : make(c))

function configOf(c: Choices): unknown {
  const type = c.pick(['pv', 'pvh', 'linux', 'auto'] as const)
  const words: Record<string, unknown> = c.below(32) === 31 ? Object.create(null) : {}
  words.type = value(() => type, c)
  words.memory = value(SUITABLE.memory as Make, c)
  for (let left = c.below(7); left > 0; left--) {
    const keys = c.below(8) === 7 ? OWN_KEYS : [...COMMON_KEYS, ...KEYS[type]]
    const key = c.pick(keys)
    words[key] = value(SUITABLE[key] as Make, c)
  }
  return c.below(64) === 63 ? c.pick(hostile)(c) : words
}

const FILES = [
  () => pvKernelFile({ pages: 1 }),
  () => pvhKernelFile({ paddr: 0x100000 }),
  () => linuxKernelFile(64),
  () => linuxKernelFile(32),
  () => pvKernelFile({ class: 32, pages: 1, notes: { HYPERCALL_PAGE: 0xc0100000, PAE_MODE: 'yes' } }),
  () => pvKernelFile({ pages: 2, notes: { INIT_P2M: 0xffffea0000000000n, MOD_START_PFN: 1n, PHYS32_ENTRY: 0x100000 } }),
  () => buildBzImage({ payload: linuxKernelFile(64) }),
]

/** The limit of bytes that are read of a guest; more finds nothing new. */
const READ_MAX = 8 * MiB

export const configTarget = (): Target => {
  let kernels: readonly Kernel[] = []
  return {
    name: 'config',
    executions: 5000,
    maxBytes: 512,
    async seeds() {
      kernels = await Promise.all(FILES.map((file) => readKernel(file())))
      return Array.from({ length: 64 }, (_, seed) => new Random(seed).bytes(8 + 2 * seed))
    },
    run(input) {
      const c = new Choices(input)
      const kernel = c.pick(kernels)
      const guest = buildDomain(kernel, configOf(c) as DomainConfig)
      if (guest.memory.placedBytes <= READ_MAX) orRefuse(() => useGuest(guest, input))
    },
  }
}
