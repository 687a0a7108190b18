/** Tests of the assertions: accepted values, messages, and their display in tap, node:test and vitest. */
import type { AssertionError } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { buildDomain, DomainBuilderError, readKernel } from '../../lib/index.js'
import {
  assertBootParams,
  assertHvmStartInfo,
  assertMapped,
  assertMemory,
  assertNotMapped,
  assertRegisters,
  assertStartInfo,
  assertTables,
  assertValid,
} from '../../lib/testing/index.js'
import { linuxKernelFile, pvhKernelFile } from '../fixtures/kernels.js'
import { projectRoot } from '../peer/paths.js'

const build = async () => buildDomain(await readKernel(helloKernel()), { memory: 32 << 20, cmdline: 'quiet' })

function caught(act: () => void): AssertionError {
  try {
    act()
  } catch (error) {
    if (error instanceof Error && error.name === 'AssertionError') return error as AssertionError
    throw error
  }
  throw new Error('nothing was thrown')
}

test('what is as expected passes, and only what is named is compared', async () => {
  const guest = await build()
  assertStartInfo(guest, { nr_pages: 0x2000n, cmd_line: 'quiet' })
  assertMapped(guest, 0xffff880000100000n, { paddr: 0x100000, writable: true })
  assertMapped(guest, 0xffff880000100000n)
  assertNotMapped(guest, 0x1000n)
})

test('each difference is a line, and only the named fields are in actual and expected', async (t) => {
  const guest = await build()
  const error = caught(() => assertStartInfo(guest, { nr_pages: 1n, cmd_line: 'loud', magic: 'xen-3.0-x86_64' }))
  t.ok(
    error.message.startsWith(
      "start_info is not what the test expects:\n  start_info.nr_pages: expected 0x1, found 0x2000\n  start_info.cmd_line: expected 'loud', found 'quiet'",
    ),
  )
  t.same(error.actual, { nr_pages: 0x2000n, cmd_line: 'quiet', magic: 'xen-3.0-x86_64' })
  t.match(caught(() => assertMapped(guest, 0x1000n)).message, /0x1000: expected 'mapped', found 'not mapped'/)
  t.match(
    caught(() => assertNotMapped(guest, 0xffff880000100000n)).message,
    /expected 'not mapped', found 'mapped'\n {2}cr3 0x[0-9a-f]+\n( {2}.*\n)+ {2}physical 0x100000, /,
  )
  t.throws(() => assertBootParams(guest, {}), DomainBuilderError)
})

test('registers of any vcpu', async (t) => {
  const guest = buildDomain(await readKernel(helloKernel()), { memory: 32 << 20, vcpus: 2 })
  const rip = guest.vcpus[0]?.registers.rip ?? 0n
  assertRegisters(guest, { rip, rbx: 0n })
  assertRegisters(guest, { rip: 0n }, 1)
  t.match(
    caught(() => assertRegisters(guest, { rip: 1n, rbx: 0n })).message,
    `vcpu 0.rip: expected 0x1, found 0x${rip.toString(16)}`,
  )
  t.throws(() => assertRegisters(guest, {}, 2), {
    code: 'bad-config',
    message: /lacks that vcpu: expected 0 to 1, found 2/,
  })
})

test('memory, physical and virtual, as bytes and as text', async (t) => {
  const guest = await build()
  const info = guest.vcpus[0]?.registers.rsi ?? 0n
  assertMemory(guest, info, 'xen-3.0-x86_64')
  const code = guest.memory.read(0x100000, 100)
  assertMemory(guest, 0x100000, code)
  assertMemory(guest, 0xffff880000100000n, code)
  const other = code.map((byte, i) => (i === 37 ? byte ^ 1 : byte))
  const { message } = caught(() => assertMemory(guest, 0xffff880000100000n, other))
  t.match(
    message,
    /^virtual memory at 0xffff880000100020 is not what the test expects:\n.*expected [0-9a-f]{32}, found [0-9a-f]{32}\n {2}cr3 /,
  )
  t.match(caught(() => assertMemory(guest, 0x100000, other)).message, /^physical memory at 0x100020 /)
  t.throws(() => assertMemory(guest, 0x1000n, 'x'), { code: 'not-mapped' })
  t.throws(() => assertMemory(guest, 64 << 20, 'x'), { code: 'not-mapped' })
})

test('page tables: valid, and mapping what is listed', async (t) => {
  const guest = await build()
  assertValid(guest)
  const top = guest.vcpus[0]?.cr3 ?? 0n
  const damaged = { ...guest, memory: guest.memory.copy() }
  damaged.memory.write(Number(top), Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))
  t.match(caught(() => assertValid(damaged)).message, /expected 'valid', found \['bad-flags: .*cr3 -> L4\[0\]/)
  const pvh = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory: 32 << 20 })
  t.throws(() => assertValid(pvh), { code: 'bad-config' })
  assertTables(pvh, [])
  const { message } = caught(() => assertTables(guest, []))
  t.match(message, /the number of mapped runs: expected 0x0, found 0x[0-9a-f]+\n/)
  t.match(message, /\n {2}0xffff880000000000, 1 MiB: pad\n {2}0xffff880000100000, 4 KiB: kernel/)
  const count = Number(/found (0x[0-9a-f]+)/.exec(message)?.[1])
  assertTables(guest, [
    { vaddr: 0xffff880000000000n, pfn: 0, region: 'pad' },
    ...Array.from({ length: count - 1 }, () => ({})),
  ])
  t.match(
    caught(() =>
      assertTables(
        guest,
        Array.from({ length: count }, () => ({ region: 'kernel' })),
      ),
    ).message,
    /run \d at 0xffff8800[0-9a-f]+.region: expected 'kernel', found/,
  )
})

test('an argument of another kind is refused in words', async (t) => {
  const guest = await build()
  // @ts-expect-error A guest that was not awaited.
  t.throws(() => assertValid(build()), {
    code: 'bad-config',
    message: /not a guest: expected a Domain.*an await is missing/,
  })
  // @ts-expect-error No guest at all.
  t.throws(() => assertStartInfo(undefined, {}), { code: 'bad-config', message: /not a guest/ })
  // @ts-expect-error A virtual address is a bigint.
  t.throws(() => assertMapped(guest, 0x100000), { code: 'bad-config', message: /not a bigint: expected such as 0xff/ })
  // @ts-expect-error Neither bytes nor a text.
  t.throws(() => assertMemory(guest, 0x100000, [1, 2]), { code: 'bad-config', message: /neither bytes nor a text/ })
})

test('boot_params: the fields that are named, the nested ones too', async (t) => {
  const guest = buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 64 << 20, cmdline: 'quiet' })
  assertBootParams(guest, {})
  assertBootParams(guest, { e820_entries: 2, hdr: { header: 0x53726448, boot_flag: 0xaa55, type_of_loader: 0xff } })
  const error = caught(() =>
    assertBootParams(guest, { e820_entries: 3, hdr: { boot_flag: 0xaa55, cmdline_size: 1, type_of_loader: 0xff } }),
  )
  t.same(error.message.split('\n').slice(0, 3), [
    'boot_params is not what the test expects:',
    '  boot_params.e820_entries: expected 0x3, found 0x2',
    '  boot_params.hdr.cmdline_size: expected 0x1, found 0x0',
  ])
  t.same(error.actual, { e820_entries: 2, hdr: { boot_flag: 0xaa55, cmdline_size: 0, type_of_loader: 0xff } })
  t.same(error.expected, { e820_entries: 3, hdr: { boot_flag: 0xaa55, cmdline_size: 1, type_of_loader: 0xff } })
  const [ram] = (error.actual as { e820_table?: unknown[] }).e820_table ?? []
  t.equal(ram, undefined, 'what was not asked for is not shown')
  t.match(
    caught(() => assertBootParams(guest, { e820_table: [] })).message,
    /e820_table: expected \[\], found \[\{ addr: 0x0/,
  )
})

test('hvm_start_info: what is as expected, what is not, and guests without one', async (t) => {
  const config = { type: 'pvh', platform: 'pc', memory: 64 << 20, ramdisk: new Uint8Array(10).fill(1) } as const
  const guest = buildDomain(await readKernel(pvhKernelFile()), config)
  assertHvmStartInfo(guest, { magic: 0x336ec578, version: 1, nr_modules: 1 })
  const error = caught(() => assertHvmStartInfo(guest, { version: 2, nr_modules: 1, rsdp_paddr: 1n }))
  t.match(
    error.message,
    /^hvm_start_info is not what the test expects:\n {2}hvm_start_info\.version: expected 0x2, found 0x1\n {2}hvm_start_info\.rsdp_paddr: expected 0x1, found 0x[0-9a-f]+$/,
  )
  t.same(Object.keys(error.actual as object), ['version', 'nr_modules', 'rsdp_paddr'])
  t.same(error.expected, { version: 2, nr_modules: 1, rsdp_paddr: 1n })
  t.equal(error.operator, 'deepStrictEqual')
  for (const refused of [
    () => assertStartInfo(guest, {}),
    () => assertBootParams(guest, {}),
    () => assertHvmStartInfo(linux, {}),
  ]) {
    t.throws(refused, { code: 'bad-config' })
  }
})

const linux = buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 64 << 20 })

test('an assertion that fails points to the test, not into the library', (t) => {
  const { stack = '' } = caught(() => assertHvmStartInfoOfNothing())
  t.match(
    stack.split('\n').find((line) => /^ +at /.test(line)),
    /assertHvmStartInfoOfNothing/,
  )
  t.end()
})
function assertHvmStartInfoOfNothing(): void {
  assertBootParams(linux, { e820_entries: 77 })
}

const FAILING = `
import { buildDomain, readKernel } from 'xen-domain-builder'
import { assertBootParams, assertHvmStartInfo, assertStartInfo, buildElf, xenNotes } from 'xen-domain-builder/testing'
const kernel = (vaddr, notes) => readKernel(
  buildElf({ class: 64, entry: vaddr, segments: [{ paddr: 0x100000, vaddr, data: new Uint8Array(64).fill(1) }], notes: xenNotes(notes) }),
)
const memory = 32 << 20
test('nr_pages', async () => {
  const pv = await kernel(0xffffffff80100000n, { XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: 0xffffffff80000000n })
  assertStartInfo(buildDomain(pv, { type: 'pv', memory }), { nr_pages: 0x2001n })
})
test('version', async () => {
  const pvh = await kernel(0x100000n, { PHYS32_ENTRY: 0x100000 })
  assertHvmStartInfo(buildDomain(pvh, { type: 'pvh', memory }), { version: 0x71 })
})
test('boot_flag', async () => {
  assertBootParams(buildDomain(await kernel(0x100000n, {}), { type: 'linux', memory }), { hdr: { boot_flag: 0xaa56 } })
})
`
const RUNNERS = {
  'node:test': { module: 'node:test', args: (file: string) => ['--test', file] },
  tap: { module: 'tap', args: (file: string) => [file] },
  vitest: {
    module: 'vitest',
    args: (file: string, dir: string) => [
      join(projectRoot, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--root',
      dir,
      file,
    ],
  },
} as const

for (const [name, { module, args }] of Object.entries(RUNNERS)) {
  test(`${name} shows what differs`, async (t) => {
    const dir = t.testdir({ 'failing.test.mjs': `import { test } from '${module}'\n${FAILING}` })
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([key]) => !/^(TAP|NODE_TEST|NODE_OPTIONS)/.test(key)),
    )
    const run = spawnSync(process.execPath, args(join(dir, 'failing.test.mjs'), dir), {
      encoding: 'utf8',
      cwd: dir,
      env,
    })
    t.equal(run.status, 1)
    const said = run.stdout + run.stderr
    t.match(said, /start_info\.nr_pages: expected 0x2001, found 0x2000/)
    t.match(said, /8192n?/, 'actual')
    t.match(said, /8193n?/, 'expected')
    t.match(said, /hvm_start_info\.version: expected 0x71, found 0x1/)
    t.match(said, /boot_params\.hdr\.boot_flag: expected 0xaa56, found 0xaa55/)
    for (const number of ['113', '43605', '43606'])
      t.match(said, number, 'actual and expected, as the runner shows them')
  })
}
