/** Debian's kernel runs, loads our guest by kexec_load(2), and becomes it, at once or when it crashes. */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Prstatus64 } from '../../lib/abi/core-files.js'
import { Ehdr64, EM_X86_64, Nhdr, Phdr64 } from '../../lib/abi/elf.js'
import { buildDomain, type Domain, type Kernel, type LinuxConfig, PAGE_SIZE, readKernel } from '../../lib/index.js'
import { elfHeader, encodeNote, loadHeader, noteHeader } from '../../lib/snapshot/elf-file.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { parseReport, stateCode, stateElf } from '../fixtures/state-kernel.js'
import { LINUX_CMDLINE } from './harness.js'
import { FIRST_RAM, type FirstKernel, findFirstKernel, runByKexec } from './kexec.js'
import { asDyn, e820Lines, guestSaid } from './linux-guest.js'
import { payloadChecksum, ramdisk } from './ramdisk.js'
import { checkState, type StateCase } from './state-check.js'

const MiB = 2 ** 20
const MEMORY = 1024 * MiB
const CMDLINE = `${LINUX_CMDLINE} quiet`
const LINKED_AT = 0x1000000

/** Runs both kernels; the second one reports its state, and the first one only that it ran. */
async function become(t: Test, first: FirstKernel, domain: Domain, cmdline = '', firstCmdline = ''): Promise<string> {
  const start = performance.now()
  const output = await runByKexec(first, domain, firstCmdline)
  t.comment(`${((performance.now() - start) / 1000).toFixed(1)} s`)
  t.ok(output.includes(`FIRST-CMDLINE ${LINUX_CMDLINE} quiet`), 'another kernel ran before')
  t.match(output, /FIRST-LOADED \d+ segments/, 'kexec_load took the segments')
  t.same(guestSaid(output, 'CMDLINE'), [cmdline], 'the command line is its own')
  t.same(guestSaid(output, 'PAYLOAD'), [payloadChecksum], 'the ramdisk arrived whole')
  t.same(guestSaid(output, 'E820'), e820Lines(domain), 'the memory map it was given')
  t.same(guestSaid(output, 'READY'), ['x86_64'])
  return output
}

const codeAt = (output: string): number => Number.parseInt((guestSaid(output, 'CODE')[0] ?? '').trim(), 16)

interface Boot {
  readonly name: string
  readonly config: Partial<LinuxConfig>
  readonly runsAt?: number
  readonly prepare?: (kernel: Kernel) => Uint8Array
}

const boots: readonly Boot[] = [
  { name: 'bzImage, 64-bit entry', config: { entry: 64 } },
  { name: 'bzImage, 32-bit entry', config: { entry: 32 } },
  { name: 'vmlinux, ET_EXEC', config: { image: 'vmlinux' } },
  {
    name: 'vmlinux, ET_DYN, elsewhere',
    config: { loadAddress: LINKED_AT + 0x4000000 },
    runsAt: LINKED_AT + 0x4000000,
    prepare: asDyn,
  },
]

for (const { name, config, runsAt = LINKED_AT, prepare } of boots) {
  t.test(name, async (t) => {
    const first = await findFirstKernel(t)
    if (first === undefined) return
    const kernel = await readKernel(readFileSync(first.kernel))
    const domain = buildDomain(prepare ? await readKernel(prepare(kernel)) : kernel, {
      memory: MEMORY,
      memmap: FIRST_RAM,
      cmdline: CMDLINE,
      ramdisk: ramdisk(first.busybox),
      ...config,
      type: 'linux',
    })
    const output = await become(t, first, domain, CMDLINE)
    t.equal(codeAt(output), runsAt, 'it runs where it was put')
  })
}

const states: readonly (StateCase & { readonly name: string; readonly file: Uint8Array })[] = ([32, 64] as const).map(
  (bits) => {
    const kernel = { bits, address: LINKED_AT, ring0: true } as const
    const image = { payload: stateCode(kernel), payloadOffset: 0, header: { payload_length: 0, init_size: MiB } }
    return bits === 32
      ? { name: 'the state of a 32-bit entry', kernel, config: { entry: 32 }, file: buildBzImage(image) }
      : { name: 'the state of a 64-bit vmlinux', kernel, config: {}, file: stateElf(kernel) }
  },
)

for (const one of states) {
  t.test(`${one.name}, out of kexec's`, async (t) => {
    const first = await findFirstKernel(t)
    if (first === undefined) return
    const domain = buildDomain(await readKernel(one.file), {
      memory: MEMORY,
      memmap: FIRST_RAM,
      cmdline: 'state',
      ...one.config,
      type: 'linux',
    })
    checkState(t, one, domain, parseReport(await runByKexec(first, domain), one.kernel.bits))
  })
}

/** The memory that the first kernel reserves for its crash kernel. */
const RESERVATION = { start: 0x10000000, end: 0x20000000 } as const
const CRASHKERNEL = 'crashkernel=256M@0x10000000 KEXEC=crash'
const CRASH_CMDLINE = `${CMDLINE} nr_cpus=1 irqpoll reset_devices`

/** Returns a kernel's version text, and its physical address when the kernel runs as linked. */
function bannerOf({ elf }: Kernel): { readonly paddr: number; readonly version: string } {
  for (const { paddr, offset, filesz } of elf?.segments ?? []) {
    const bytes = Buffer.from(elf?.bytes.subarray(offset, offset + filesz) ?? [])
    const found = bytes.indexOf('Linux version 6')
    const [version] = /^Linux version [^ ]*/.exec(bytes.toString('latin1', found, found + 100)) ?? []
    if (version !== undefined) return { paddr: Number(paddr) + found, version }
  }
  throw new Error('the kernel has no banner')
}

/** Returns the smallest header for /proc/vmcore: a note, and one page of the old kernel's memory. */
function elfCoreHeader(at: number, page: number): Uint8Array {
  const notesAt = Ehdr64.size + 2 * Phdr64.size
  // The kernel reads notes until one without a name.
  const notes = Buffer.concat([
    encodeNote({ owner: 'CORE', type: 1, desc: new Uint8Array(Prstatus64.size) }),
    new Uint8Array(Nhdr.size),
  ])
  const note = Phdr64.decode(noteHeader(at + notesAt, notes.length))
  const load = { offset: page, filesz: PAGE_SIZE, paddr: page, memsz: PAGE_SIZE }
  return Buffer.concat([
    elfHeader(EM_X86_64, { e_phoff: BigInt(Ehdr64.size), e_phentsize: Phdr64.size, e_phnum: 2 }),
    Phdr64.encode({ ...note, p_memsz: note.p_filesz }),
    loadHeader(load, 0xffffffff80000000n + BigInt(page)),
    notes,
  ])
}

t.test('a crash kernel in its reservation, which reads the memory of the one that crashed', async (t) => {
  const first = await findFirstKernel(t)
  if (first === undefined) return
  const kernel = await readKernel(readFileSync(first.kernel))
  const banner = bannerOf(kernel)
  const build = (elfcorehdr: Uint8Array) =>
    buildDomain(kernel, {
      memory: 512 * MiB,
      within: RESERVATION,
      elfcorehdr,
      cmdline: CRASH_CMDLINE,
      ramdisk: ramdisk(first.busybox),
      type: 'linux',
    })
  const page = banner.paddr - (banner.paddr % PAGE_SIZE)
  const placed = build(elfCoreHeader(0, page)).regions.find(({ name }) => name === 'elfcorehdr')?.pfn ?? 0
  const domain = build(elfCoreHeader(placed * PAGE_SIZE, page))
  const cmdline = `${CRASH_CMDLINE} elfcorehdr=0x${(placed * PAGE_SIZE).toString(16)}`
  const output = await become(t, first, domain, cmdline, CRASHKERNEL)
  t.match(output, /Kernel panic - not syncing: sysrq triggered crash/, 'the first kernel crashed')
  t.equal(codeAt(output), RESERVATION.start, 'it runs in the reservation')
  t.same(guestSaid(output, 'VMCORE'), [banner.version], "the first kernel's memory, through /proc/vmcore")
})

for (const { name, config } of [
  { name: 'bzImage, 32-bit entry', config: { entry: 32 } },
  { name: 'vmlinux, moved by us', config: { image: 'vmlinux' } },
] as const) {
  t.test(`a crash kernel: ${name}`, async (t) => {
    const first = await findFirstKernel(t)
    if (first === undefined) return
    const domain = buildDomain(await readKernel(readFileSync(first.kernel)), {
      memory: 512 * MiB,
      within: RESERVATION,
      cmdline: CRASH_CMDLINE,
      ramdisk: ramdisk(first.busybox),
      ...config,
      type: 'linux',
    })
    const output = await become(t, first, domain, CRASH_CMDLINE, CRASHKERNEL)
    t.equal(codeAt(output), RESERVATION.start, 'it runs in the reservation')
  })
}
