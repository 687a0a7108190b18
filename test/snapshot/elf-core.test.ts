/**
 * Our cores in independent tools: readelf, gdb with Debian's kernel, and the steps of a memory forensics tool.
 *
 * Source: readelf(1), gdb(1), objcopy(1).
 * Gotcha: Debian's kernel has no symbol table, so gdb gets the names whose addresses are in the kernel's own notes.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  buildDomain,
  type Domain,
  type DomainConfig,
  type Kernel,
  PAGE_SIZE,
  readKernel,
  readVirtual,
  translate,
  writeElfCore,
  writeXenCore,
} from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { findKernel } from '../peer/kernels.js'
import { readelf } from '../peer/readelf.js'
import { requirePeer } from '../peer/require-peer.js'

const folder = mkdtempSync(join(tmpdir(), 'xdb-core-'))
t.teardown(() => rmSync(folder, { recursive: true }))
/** The virtual address at which Linux is linked. */
const VIRT_BASE = 0xffffffff80000000n
const hex = (value: bigint | number): string => `0x${value.toString(16)}`

let debianKernel: Promise<Kernel> | undefined

/** Writes a core of Debian's kernel to a file. The kernel is decompressed once. */
async function debianCore(
  t: Test,
  config: DomainConfig,
): Promise<{ kernel: Kernel; built: Domain; file: string } | undefined> {
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined) return undefined
  debianKernel ??= readKernel(readFileSync(vmlinuz))
  const kernel = await debianKernel
  const built = buildDomain(kernel, config)
  const file = join(folder, `${config.type}.core`)
  writeFileSync(file, bytesOf(writeElfCore(built)))
  return { kernel, built, file }
}

/** Adds these symbols to an ELF without any. Each is in the section of its address, or gdb would not show it. */
function nameAddresses(objcopy: string, file: string, names: Readonly<Record<string, bigint>>): void {
  const listed = execFileSync('readelf', ['-SW', file], { encoding: 'utf8' })
  const sections = [...listed.matchAll(/^ +\[ *\d+\] (\S+) +PROGBITS +([0-9a-f]{16}) [0-9a-f]+ ([0-9a-f]+) /gm)].map(
    ([, name = '', start, size]) => ({ name, start: BigInt(`0x${start}`), size: BigInt(`0x${size}`) }),
  )
  const symbols = Object.entries(names).flatMap(([symbol, at]) => {
    const section = sections.find(({ start, size }) => start <= at && at < start + size)
    if (!section) throw new Error(`no section has ${symbol}`)
    return ['--add-symbol', `${symbol}=${section.name}:${hex(at - section.start)},function,global`]
  })
  execFileSync(objcopy, [...symbols, file])
}

t.test("gdb on Debian's kernel: symbols, the banner, and a backtrace at the entry point", async (t) => {
  const gdb = await requirePeer(t, () => findCommand('gdb', 'gdb'))
  if (gdb === undefined) return
  const objcopy = await requirePeer(t, () => findCommand('objcopy', 'binutils'))
  if (objcopy === undefined) return
  const config = { type: 'pv', memory: 128 * 2 ** 20, cmdline: 'console=hvc0', vcpus: 2 } as const
  const debian = await debianCore(t, config)
  if (!debian) return
  const { kernel, built, file } = debian
  const { rip = 0n, rsp = 0n, rsi = 0n } = built.vcpus[0]?.registers ?? {}
  const vmlinux = join(folder, 'vmlinux')
  writeFileSync(vmlinux, kernel.elf?.bytes ?? new Uint8Array(0))
  const physical = kernel.notes.find(({ name }) => name === 'PHYS32_ENTRY')?.desc ?? new Uint8Array(8)
  const pvh = VIRT_BASE + Buffer.from(physical).readBigUInt64LE()
  nameAddresses(objcopy, vmlinux, { startup_xen: rip, pvh_start_xen: pvh })
  const banner = Buffer.from(built.memory.read(0, 64 * 2 ** 20)).indexOf('Linux version ')
  const commands = [
    `core-file ${file}`,
    'info registers rip rsp rsi',
    'x/16xb &startup_xen',
    'x/16xb &pvh_start_xen',
    `x/s ${hex(VIRT_BASE + BigInt(banner))}`,
    'x/s $rsi',
    'info threads',
    'bt 1',
  ]
  const ran = spawnSync(gdb, ['-nx', '-batch', ...commands.flatMap((c) => ['-ex', c]), vmlinux], {
    encoding: 'utf8',
  })
  const said = ran.stdout
  for (const [name, value] of Object.entries({ rip, rsp, rsi })) {
    t.match(said, new RegExp(`^${name} +${hex(value)}\\b`, 'm'), name)
  }
  const bytesAt = (name: string): number[] =>
    [...said.matchAll(new RegExp(`^0x[0-9a-f]+ <${name}[+0-9]*>:\\t(.*)$`, 'gm'))].flatMap((m) =>
      (m[1] ?? '').split('\t').map(Number),
    )
  t.same(bytesAt('startup_xen'), [...readVirtual(built, rip, 16)], 'the bytes at the entry point')
  t.same(bytesAt('pvh_start_xen'), [...readVirtual(built, pvh, 16)], 'the bytes at another symbol')
  t.match(said, /"Linux version \d/, 'linux_banner')
  t.match(said, /"xen-3\.0-x86_64"/, 'start_info.magic, through the page tables')
  t.equal([...said.matchAll(/^[* ] +\d+ +.*(?:LWP|process|Thread) /gm)].length, 1, 'the vcpus that run')
  t.match(said, new RegExp(`^#0 +${hex(rip)} (in )?startup_xen`, 'm'), 'a backtrace')
})

t.test('readelf has no complaint, and raw reads by physical address agree', async (t) => {
  const found = await requirePeer(t, () => findCommand('readelf', 'binutils'))
  if (found === undefined) return
  for (const config of [
    { type: 'pv', memory: 128 * 2 ** 20, vcpus: 2, ramdisk: pattern(70000), p2m: { offset: 0x1234 } },
    { type: 'pvh', memory: 128 * 2 ** 20, vcpus: 2, ramdisk: pattern(70000) },
    { type: 'linux', memory: 128 * 2 ** 20, ramdisk: pattern(70000) },
  ] as const) {
    const debian = await debianCore(t, config)
    if (!debian) return
    const { built, file } = debian
    const ran = spawnSync('readelf', ['-lWn', file], { encoding: 'utf8' })
    t.equal(ran.stderr, '', `${config.type}: no warning`)
    t.match(ran.stdout, /NT_PRSTATUS/)
    const { type, machine, segments } = await readelf(file)
    t.equal(type, 'CORE')
    t.match(machine, built.abi === 'x86_64' ? /X86-64/ : /80386/)
    const bytes = readFileSync(file)
    const loads = segments.filter((s) => s.type === 'LOAD')
    for (const { offset, paddr, vaddr, filesz, memsz } of loads) {
      const zeros = Number(memsz) - filesz
      t.ok(
        zeros === 0 || translate(built, vaddr)?.paddr === Number(paddr),
        `${config.type}: only mapped pages have no bytes`,
      )
      if (zeros > 0)
        t.notOk(built.memory.read(Number(paddr) + filesz, zeros).some(Boolean), `${config.type}: ${zeros} zeros`)
      t.equal(offset % PAGE_SIZE, 0)
      const same = Buffer.compare(bytes.subarray(offset, offset + filesz), built.memory.read(Number(paddr), filesz))
      t.equal(same, 0, `${config.type}: ${filesz} bytes at paddr ${hex(paddr)}`)
    }
    // Memory outside all segments is empty.
    const covered = (paddr: number): boolean =>
      loads.some((s) => Number(s.paddr) <= paddr && paddr < Number(s.paddr) + s.filesz)
    const zero = new Uint8Array(PAGE_SIZE)
    const lost = [...built.memory.pages()]
      .flatMap(({ pfn, pages }) => Array.from({ length: pages }, (_, i) => (pfn + i) * PAGE_SIZE))
      .filter((paddr) => !covered(paddr) && Buffer.compare(built.memory.read(paddr, PAGE_SIZE), zero) !== 0)
    t.same(lost, [], `${config.type}: nothing is left out`)
    // By virtual address, as in the guest's own tables.
    for (const { vaddr, offset, filesz } of loads.filter((s) => s.vaddr !== 0n)) {
      const ours = readVirtual(built, vaddr, filesz)
      t.equal(Buffer.compare(bytes.subarray(offset, offset + filesz), ours), 0, `${config.type}: at ${hex(vaddr)}`)
    }
  }
})

t.test("readelf on xl dump-core's format", async (t) => {
  const found = await requirePeer(t, () => findCommand('readelf', 'binutils'))
  if (found === undefined) return
  const file = join(folder, 'xen-core')
  const built = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20, vcpus: 3 })
  writeFileSync(file, bytesOf(writeXenCore(built)))
  const sections = spawnSync('readelf', ['-SWn', file], { encoding: 'utf8' })
  t.equal(sections.stderr, '')
  t.match(sections.stdout, /\.xen_p2m/)
})
