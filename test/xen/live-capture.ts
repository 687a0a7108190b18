/**
 * Guests that run under xl and that our library captures from Node in dom0: equal to what xl sees of the same pause, and
 * restored by xl from our file.
 *
 * Source: in-dom0/capture.ts is the program; Xen docs/misc/dump-core-format.txt has the sections of xl's core.
 * Gotcha: xl 4.17 does not finish a core of a PVH guest: it tries to map each of a million frames. So the peer is its save
 * file, after which `xl save -p` leaves the guest paused.
 */
import { join } from 'node:path'
import type { Test } from 'tap'
import { HVM_PARAM } from '../../lib/abi/hvm-params.js'
import { bytesSource, type Domain, openSnapshot, PAGE_SIZE } from '../../lib/index.js'
import { readCoreSections } from '../../lib/snapshot/elf-file.js'
import type { CheckedCase } from './check.js'
import { readFrozen } from './frozen.js'
import { forXl, type GuestSpec } from './guests.js'
import { type XenResult, xenBuild } from './harness.js'
import { checkLinuxConsole } from './linux.js'
import { programs } from './programs.js'

const withCapture = (spec: GuestSpec): Pick<Required<CheckedCase>, 'files' | 'config'> => {
  const { files, config } = forXl(spec)
  return { files: { ...files, ...programs('capture') }, config }
}

/** Steps: the guest goes on, and counts two more. */
const GOES_ON = ['before=$(grep -c GUEST-ALIVE $CONSOLE)', 'console GUEST-ALIVE 60 $((before + 2))']
const IS_RUNNING = ['xl create guest.cfg', 'console "GUEST-ALIVE 2" 120']

/** The case of a guest that xl and our program see in the same pause: both give a file of it, and it goes on. */
const inOnePause = (name: string, spec: GuestSpec, ...pause: readonly string[]): Omit<CheckedCase, 'check'> => ({
  name,
  ...withCapture(spec),
  steps: [
    'node_ready',
    ...IS_RUNNING,
    ...pause,
    'give ours theirs',
    'rm ours theirs',
    'xl unpause $NAME',
    ...GOES_ON,
    'xl destroy $NAME',
  ],
  seconds: 240,
})
const CAPTURE = 'node capture.mjs $(domid) ours xen-core'

/** Shows the figures of a run in the report. */
const showFigures = (t: Test, { log }: XenResult): void => {
  for (const [line] of log.matchAll(/^paused .*$/gm)) t.comment(line)
}

/** Bytes of a section of a core. */
function section(file: Uint8Array, name: string): Uint8Array {
  const { offset = 0, length = 0 } = readCoreSections(bytesSource(file)).get(name) ?? {}
  return file.subarray(offset, offset + length)
}

/** Checks that the same frames exist, and returns those whose content differs. */
function differingPages(t: Test, ours: Domain, { memory: peer }: Domain): number[] {
  t.same(ours.memory.ranges, peer.ranges, 'the same pages exist')
  const differing: number[] = []
  for (const { start, end } of peer.ranges) {
    for (let pfn = start; pfn < end; pfn++) {
      if (!ours.memory.has(pfn)) continue
      const [a, b] = [ours.memory, peer].map((memory) => memory.read(pfn * PAGE_SIZE, PAGE_SIZE))
      if (Buffer.compare(a as Uint8Array, b as Uint8Array) !== 0) differing.push(pfn)
    }
  }
  return differing
}

/** A PV guest is captured while it is paused, and xl dumps the same pause; both files have the same of it. */
export function capturedAsDumped(name: string, spec: GuestSpec): CheckedCase {
  return {
    ...inOnePause(name, spec, 'xl pause $NAME', CAPTURE, 'xl dump-core $NAME theirs'),
    async check(t, result) {
      showFigures(t, result)
      const [ours, theirs] = [result.file('ours'), result.file('theirs')]
      for (const one of ['.xen_prstatus', '.xen_shared_info', '.xen_p2m']) {
        t.ok(section(theirs, one).length > 0, `xl has ${one}`)
        t.ok(Buffer.compare(section(ours, one), section(theirs, one)) === 0, `${one}: the same bytes`)
      }
      const [a, b] = [await openSnapshot(bytesSource(ours)), await openSnapshot(bytesSource(theirs))]
      t.equal(a.vcpus.length, spec.vcpus ?? 1)
      t.same(differingPages(t, a, b), [], `${b.memory.pageCount} pages are the same`)
    },
  }
}

/** A PVH guest is saved by xl, left paused, and captured; both files have the same of it. */
export function capturedAsSaved(name: string, spec: GuestSpec): CheckedCase {
  return {
    ...inOnePause(name, spec, 'xl save -p $NAME theirs', CAPTURE),
    async check(t, result) {
      showFigures(t, result)
      const [a, b] = [
        await openSnapshot(bytesSource(result.file('ours'))),
        await openSnapshot(bytesSource(result.file('theirs'))),
      ]
      t.equal(a.vcpus.length, spec.vcpus ?? 1)
      // The hypercall in which it suspended has returned.
      const registers = ({ vcpus }: Domain) => vcpus.map((vcpu) => ({ ...vcpu.registers, rax: 0n }))
      t.same(registers(a), registers(b), 'the registers of all vcpus')
      const paramsOf = ({ boot }: Domain) => ('hvmParams' in boot ? boot.hvmParams : [])
      t.same(
        paramsOf(a).filter(({ index }) => index !== HVM_PARAM.CALLBACK_IRQ),
        paramsOf(b),
        'the parameters',
      )
      // Backends write into the rings at any time.
      const rings = paramsOf(b).flatMap(({ index, value }) =>
        index === HVM_PARAM.STORE_PFN || index === HVM_PARAM.CONSOLE_PFN ? [Number(value)] : [],
      )
      const differing = differingPages(t, a, b).filter((pfn) => !rings.includes(pfn))
      t.same(differing, [], `${b.memory.pageCount} pages are the same`)
    },
  }
}

/** A PV guest that has not run is captured; a separate program reads the same guest. */
export function capturedAsFrozen(name: string, spec: GuestSpec): CheckedCase {
  return {
    name,
    ...withCapture(spec),
    steps: [
      'node_ready',
      'xl create -p guest.cfg',
      CAPTURE,
      'pvfreeze $(domid) dump .',
      'give ours vcpu.bin shared_info.bin p2m.bin pages.bin',
      'xl destroy $NAME',
    ],
    seconds: 240,
    async check(t, result) {
      showFigures(t, result)
      const ours = await openSnapshot(bytesSource(result.file('ours')))
      const frozen = readFrozen(result)
      const core = result.file('ours')
      const first = section(core, '.xen_prstatus').subarray(0, frozen.vcpu.length)
      t.ok(Buffer.compare(first, frozen.vcpu) === 0, 'vcpu 0')
      t.ok(Buffer.compare(section(core, '.xen_shared_info'), frozen.sharedInfo) === 0, 'shared_info')
      t.equal(ours.memory.pageCount, frozen.p2m.filter((mfn) => mfn !== 0xffffffffffffffffn).length)
      const moved = [...frozen.p2m.keys()].filter((pfn) => BigInt(ours.p2m.mfn(pfn) ?? -1) !== frozen.p2m[pfn])
      t.same(moved, [], `${frozen.p2m.length} entries of the p2m`)
      const differing = [...frozen.pages].filter(
        ([pfn, page]) => Buffer.compare(ours.memory.read(pfn * PAGE_SIZE, PAGE_SIZE), page) !== 0,
      )
      t.same(
        differing.map(([pfn]) => pfn),
        [],
        `${frozen.pages.size} pages`,
      )
    },
  }
}

/** A guest suspends itself for a capture and goes on; then xl restores it from our file, and saves it again. */
export function capturedAndRestored(name: string, spec: GuestSpec): CheckedCase {
  return {
    name,
    ...withCapture(spec),
    steps: [
      'node_ready',
      ...IS_RUNNING,
      'node capture.mjs $(domid) saved xl suspend',
      ...GOES_ON,
      'xl destroy $NAME',
      'gone',
      'before=$(grep -c GUEST-ALIVE $CONSOLE)',
      'xl restore saved',
      'console GUEST-ALIVE 60 $((before + 3))',
      'xl save $NAME again',
      'gone',
    ],
    seconds: 300,
    check(t, result) {
      showFigures(t, result)
      checkLinuxConsole(t, result.console, spec)
      t.equal(result.console.match(/GUEST-ALIVE 1\r?\n/g)?.length, 1, 'it went on, and did not start again')
    },
  }
}

const linux: GuestSpec = {
  kernel: join(xenBuild, 'vmlinux'),
  memoryMiB: 128,
  ramdisk: join(xenBuild, 'guest.cpio'),
  cmdline: 'console=hvc0 quiet',
  vcpus: 2,
}
const pvh: GuestSpec = { ...linux, type: 'pvh', memoryMiB: 160 }

/** Returns the cases for a Xen that has 64-bit guests. */
export const captureCases = (): CheckedCase[] => [
  capturedAsDumped('captured-linux', linux),
  capturedAsSaved('captured-pvh', pvh),
  capturedAndRestored('captured-linux-restored', linux),
  capturedAndRestored('captured-pvh-restored', pvh),
]

/** Returns the cases for a Xen that has 32-bit PV guests. There is no Linux with PAE to run in one. */
export const captureCases32 = (kernel: string): CheckedCase[] => [
  capturedAsFrozen('captured-pv32', { kernel, memoryMiB: 64 }),
]
