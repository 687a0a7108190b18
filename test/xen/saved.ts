/**
 * Guests that no toolstack created: `xl restore` gets only our save file.
 *
 * Source: lib/snapshot/xen-save.ts.
 * Gotcha: the domain must have the case's name, by which its console's log is found.
 */
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  describeMap,
  type Kernel,
  mapHtml,
  mapSvg,
  mapText,
  openSnapshot,
  PAGE_SIZE,
  policiesOf,
  readKernel,
  readStartInfo,
  readVirtual,
  type SavedRecord,
  validate,
  writeXl,
  type XlOptions,
} from '../../lib/index.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { THROUGH } from '../fixtures/snapshots.js'
import type { CheckedCase } from './check.js'
import { forXl, type GuestSpec } from './guests.js'
import { checkLinuxConsole, saveAndRestore } from './linux.js'

/** Builds the guest here. Returns its save file. */
export async function ourSaveFile(name: string, spec: GuestSpec, options?: XlOptions): Promise<Uint8Array> {
  return saveFileOf(await kernelOf(spec), name, spec, { options })
}

const kernelOf = (spec: GuestSpec): Promise<Kernel> =>
  readKernel(typeof spec.kernel === 'string' ? readFileSync(spec.kernel) : spec.kernel)

function saveFileOf(
  kernel: Kernel,
  name: string,
  spec: GuestSpec,
  { options, policies }: { readonly options?: XlOptions | undefined; readonly policies?: readonly SavedRecord[] },
): Uint8Array {
  const domain = buildDomain(kernel, {
    ...(policies === undefined ? {} : { policies }),
    // Restoring assigns new frames and rewrites everything, so the frames in the file must not matter.
    ...(spec.type === 'pvh' ? { type: 'pvh' } : { type: 'pv', p2m: { offset: 0x1234 } }),
    name,
    memory: spec.memoryMiB * 2 ** 20,
    maxmem: (spec.maxmemMiB ?? spec.memoryMiB) * 2 ** 20,
    vcpus: spec.vcpus ?? 1,
    cmdline: spec.cmdline ?? '',
    ramdisk: spec.ramdisk === undefined ? [] : readFileSync(spec.ramdisk),
    purpose: 'restore',
  })
  return saveBytes(domain, options)
}

/** A case that restores our file, and checks the console until the guest is gone. */
export function restoredCase(
  name: string,
  spec: GuestSpec,
  until: string,
  said: RegExp,
  options?: XlOptions,
): CheckedCase {
  return restoredFile(name, () => ourSaveFile(name, spec, options), until, said)
}

/** The same for a file from any maker. */
export function restoredFile(
  name: string,
  make: (name: string) => Promise<Uint8Array>,
  until: string,
  said: RegExp,
): CheckedCase {
  return {
    name,
    files: { saved: () => make(name) },
    steps: ['xl restore saved', `console ${until}`, 'gone'],
    check(t, { console }) {
      t.match(console, said)
    },
  }
}

/** The console of one run of a kernel that ends by itself, and the reason code of its end in xl's log. */
export interface Ended {
  readonly console: string
  readonly reason: string | undefined
}

/**
 * The same, but our file has the processor policies of a guest that the host saved in the same case.
 * @param host the saved guest, a Linux of the same type.
 */
export async function createdAndRestoredByPolicy(
  name: string,
  spec: GuestSpec,
  host: GuestSpec,
  compare: (t: Test, created: Ended, restored: Ended) => void,
): Promise<CheckedCase> {
  const [kernel, plain] = [await kernelOf(spec), createdAndRestored(name, spec, compare)]
  const { saved: _, ...files } = plain.files ?? {}
  const settings = [
    'kernel="host-kernel"',
    'ramdisk="host-ramdisk"',
    `memory=${host.memoryMiB}`,
    `cmdline="${host.cmdline}"`,
  ]
  return {
    ...plain,
    files: { ...files, 'host-kernel': host.kernel, 'host-ramdisk': host.ramdisk ?? '' },
    steps: [
      `xl create guest.cfg ${settings.map((setting) => `'${setting}'`).join(' ')}`,
      'console GUEST-READY 120',
      'xl save $NAME host',
      'gone',
      'give host',
      'ask ours',
      ...plain.steps.map((step) => (step === 'xl restore saved' ? 'xl restore ours' : step)),
    ],
    answers: {
      ours: (given) => saveFileOf(kernel, name, spec, { policies: policiesOf(openXl(bytesSource(given('host')))) }),
    },
  }
}

/** A kernel that ends by itself is created by xl and then restored from our file; the two runs are compared. */
export function createdAndRestored(
  name: string,
  spec: GuestSpec,
  compare: (t: Test, created: Ended, restored: Ended) => void,
): CheckedCase {
  const { files, config } = forXl(spec)
  const toItsEnd = (start: string, log: string): string[] => [
    start,
    'gone 60',
    `cp $CONSOLE ${log}`,
    `cp /var/log/xen/xl-$NAME.log ${log}.xl`,
    `give ${log} ${log}.xl`,
  ]
  return {
    name,
    files: { ...files, saved: () => ourSaveFile(name, spec) },
    config,
    steps: [...toItsEnd('xl create guest.cfg', 'created'), ...toItsEnd('xl restore saved', 'restored')],
    seconds: 240,
    check(t, result) {
      const text = (file: string): string => Buffer.from(result.file(file)).toString('latin1')
      const reason = (file: string): string | undefined => /has shut down, reason code (\d+)/.exec(text(file))?.[1]
      const created = text('created')
      const both = text('restored')
      t.ok(both.startsWith(created), "the console's log goes on")
      const restored = { console: both.slice(created.length), reason: reason('restored.xl') }
      compare(t, { console: created, reason: reason('created.xl') }, restored)
    },
  }
}

/** Restored from our file, it has the same output and end as created by xl. */
export const restoredAsCreated = (name: string, spec: GuestSpec): CheckedCase =>
  createdAndRestored(name, spec, (t, created, restored) => {
    t.equal(restored.console, created.console, `the same console again, ${created.console.length} bytes`)
    t.ok(created.reason, 'it came to its end')
    t.equal(restored.reason, created.reason, 'for the same reason')
  })

/** Linux from our file reaches its /init. */
export function restoredLinux(name: string, spec: GuestSpec): CheckedCase {
  return {
    name,
    files: { saved: () => ourSaveFile(name, spec) },
    steps: ['xl restore saved', 'console GUEST-READY 120'],
    seconds: 300,
    check: (t, { console }) => checkLinuxConsole(t, console, spec),
  }
}

/** A PVH guest of our file finds all of its maxmem, which no pages on demand stand for. */
export function restoredWithMaxmem(name: string, spec: GuestSpec & { readonly maxmemMiB: number }): CheckedCase {
  return {
    ...restoredLinux(name, spec),
    check: (t, { console }) => checkLinuxConsole(t, console, { ...spec, memoryMiB: spec.maxmemMiB }),
  }
}

/** ...and is then saved and restored by xl. */
export function restoredLinuxAgain(name: string, spec: GuestSpec): CheckedCase {
  const once = restoredLinux(name, spec)
  return {
    ...once,
    steps: [...once.steps, ...saveAndRestore()],
    check(t, { console }) {
      checkLinuxConsole(t, console, spec)
      t.equal(console.match(/GUEST-ALIVE 1\r?\n/g)?.length, 1, 'it went on, and did not start again')
    },
  }
}

/** Takes a save file of xl's through every other format; nothing of the guest may be lost. */
export const rewritten = (given: (file: string) => Uint8Array): Uint8Array => {
  const guest = openXl(bytesSource(given('saved')))
  return saveBytes(THROUGH['xen-core'](THROUGH['elf-core'](THROUGH.raw(guest))))
}

/** Converts a guest to every format that carries it and back: the same guest, and the same xl file to the last byte. */
export function checkCarried(t: Test, guest: Domain): void {
  const direct = saveBytes(guest)
  for (const format of ['raw', 'xen-core', 'elf-core', 'xl'] as const) {
    const back = THROUGH[format](guest)
    t.same(back.vcpus, guest.vcpus, `${format} and back: vcpus`)
    t.same(back.saved, guest.saved, `${format} and back: what is kept as it was saved`)
    t.equal(Buffer.compare(saveBytes(back), direct), 0, `${format} and back: the same file`)
  }
}

/** ...is then saved by xl, taken through every format by us, and restored by xl; xl's file is checked as well. */
export function restoredLinuxTwice(name: string, spec: GuestSpec): CheckedCase {
  const again = restoredLinuxAgain(name, spec)
  return {
    ...again,
    steps: [
      ...restoredLinux(name, spec).steps,
      ...saveAndRestore('give saved', 'ask rewritten', 'xl restore rewritten'),
    ],
    answers: { rewritten },
    async check(t, result) {
      await again.check(t, result)
      checkRunning(t, result.file('saved'), spec)
    },
  }
}

/** ...and before that, xl dumps it while it runs; we read that file too. */
export function restoredLinuxDumped(name: string, spec: GuestSpec): CheckedCase {
  const twice = restoredLinuxTwice(name, spec)
  const untilReady = restoredLinux(name, spec).steps
  const after = twice.steps.slice(untilReady.length)
  return {
    ...twice,
    steps: [...untilReady, 'xl dump-core $NAME core', 'give core', ...after],
    async check(t, result) {
      await twice.check(t, result)
      await checkDumped(t, result.file('core'), result.file('saved'), spec)
    },
  }
}

/** The physical address of the code of Debian's kernel. */
const KERNEL_TEXT = { paddr: 0x1000000, pages: 2048 } as const

/** Checks a core that xl wrote of a PVH guest: its registers lead through its tables to the save file's kernel. */
async function checkDumped(t: Test, core: Uint8Array, saved: Uint8Array, spec: GuestSpec): Promise<void> {
  const guest = await openSnapshot(bytesSource(core))
  t.equal(guest.type, 'hvm', 'which of the two it is, the file does not say')
  t.equal(guest.abi, 'x86_64')
  t.equal(guest.vcpus.filter(({ online }) => online).length, spec.vcpus ?? 1)
  const { rip } = guest.vcpus[0]?.registers ?? { rip: 0n }
  const other = openXl(bytesSource(saved))
  t.same(readVirtual(guest, rip, 16), readVirtual(other, rip, 16), 'what it was about to do')
  // A kernel patches its own code at times, so a few of these pages may be of another moment.
  const differing = Array.from({ length: KERNEL_TEXT.pages }, (_, i) => {
    const [a, b] = [guest, other].map(({ memory }) => memory.read(KERNEL_TEXT.paddr + i * PAGE_SIZE, PAGE_SIZE))
    return Buffer.compare(a as Uint8Array, b as Uint8Array) !== 0
  }).filter(Boolean).length
  t.ok(differing < KERNEL_TEXT.pages / 10, `${differing} pages of the kernel's code differ`)
  checkMapped(t, guest)
}

/** Checks a file that xl wrote of a running guest: its page tables lead to its own data. */
function checkRunning(t: Test, file: Uint8Array, spec: GuestSpec): void {
  const guest = openXl(bytesSource(file))
  t.equal(guest.type, spec.type ?? 'pv')
  t.equal(guest.vcpus.filter(({ online }) => online).length, spec.vcpus ?? 1)
  const { rip } = guest.vcpus[0]?.registers ?? { rip: 0n }
  // It was stopped after the instruction of a hypercall: sched_op, to suspend.
  if (guest.type === 'pv') {
    t.equal(guest.memory.pageCount, spec.memoryMiB * 256)
    t.ok(guest.vcpus[0]?.pv?.context, 'it has traps, a GDT, callbacks')
    t.equal(Number(readStartInfo(guest).nr_pages), spec.memoryMiB * 256)
    t.same(readVirtual(guest, rip - 2n, 2), SYSCALL, 'the instruction it stopped at')
  } else {
    t.equal(guest.abi, 'x86_64')
    t.same(readVirtual(guest, rip - 3n, 2), VMCALL_OPCODE, 'the instruction it stopped at')
    const added = guest.memory.pageCount - spec.memoryMiB * 256
    t.ok(Math.abs(added) <= PVH_PAGES_BESIDE, `${added} pages in addition to its memory`)
  }
  checkCarried(t, guest)
  checkMapped(t, guest)
  if (guest.type === 'pv') t.same(validate(guest), [], 'Xen runs on these page tables')
}

/** Checks that its maps stay within bounds: the tables of all its processes are too many to list. */
function checkMapped(t: Test, guest: Domain): void {
  const { virtual, paging } = describeMap(guest)
  t.ok(virtual.length > 0, `${paging}: its tables are found`)
  const lines = mapText(guest)
  t.ok(lines.length > 20 && lines.length < 5000, `${lines.length} lines`)
  const html = mapHtml(guest)
  t.ok(html.length < 8 * 2 ** 20, `a page of ${html.length} characters`)
  t.ok(mapSvg(guest).trimEnd().endsWith('</svg>'))
}

const SYSCALL = Uint8Array.of(0x0f, 0x05)
/** The common first bytes of vmcall (Intel) and vmmcall (AMD). */
const VMCALL_OPCODE = Uint8Array.of(0x0f, 0x01)
/** Tolerance in pages: special pages and tables are added; those for Xen's shared_info and grant tables are missing. */
const PVH_PAGES_BESIDE = 64

export const saveBytes = (domain: Domain, options?: XlOptions): Uint8Array =>
  new Uint8Array(Buffer.concat(Array.from(writeXl(domain, options), (chunk) => chunk.slice())))
