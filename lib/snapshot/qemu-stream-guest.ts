/**
 * The guest in QEMU's migration stream: memory, and vcpus by the stream's own description. A guest that we wrote is
 * read back whole; any other has run.
 *
 * Source: QEMU target/i386/machine.c and hw/i386/pc.c; ../abi/qemu-cpu.ts.
 * Gotcha: the stream does not say where RAM ends below 4 GiB. The clock's memory does, as firmware reads it there. The
 * blocks of ROM and VGA are not the guest's: only its RAM is read, all of it.
 */

import { GUEST_NOTE_OWNER } from '../abi/core-files.js'
import { CMOS_MEMORY, DEVICE_HOLE } from '../abi/pc.js'
import { CPU, CPU_COMMON, LOCAL_APIC, MP_STATE_WAITING, QEMU_REGISTERS, QEMU_SEGMENTS } from '../abi/qemu-cpu.js'
import { CLOCK, MEMORY_OBJECT, QEMU_MACHINES, type QemuMachine } from '../abi/qemu-machines.js'
import { EFER_LMA } from '../abi/x86.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, type HvmBoot, pageTypes } from '../guest/domain.js'
import { loadedSegment } from '../guest/gdt.js'
import { GuestMemory } from '../guest/memory.js'
import { identityWhere } from '../guest/pfn-view.js'
import { addRange } from '../guest/runs.js'
import {
  MAX_VCPUS,
  type Registers,
  type SegmentRegister,
  type SegmentState,
  type Vcpu,
  waitingVcpu,
} from '../guest/vcpu.js'
import { logSnapshot } from '../log.js'
import { PAGE_SIZE, type Paddr, type Pfn, paddrOf, pfnOf, type Range, showRange } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { openGuest, openRanges } from './guest-json.js'
import type { PageIndex } from './page-index.js'
import { readPages } from './page-memory.js'
import { machineRam } from './qemu-machine.js'
import { type QemuStream, readQemuStream, withinDescription } from './qemu-stream-reader.js'
import type { DeviceState } from './vmstate-reader.js'

const wrong = (what: string, expected: string, found: string): never => {
  throw new DomainBuilderError('bad-snapshot', `QEMU's stream: ${what}`, { expected, found, offset: 0 })
}

/**
 * Returns the guest in a stream of QEMU. Pages are read on demand.
 * @param start file offset of the stream, which goes to the end of the file.
 * @throws DomainBuilderError `bad-snapshot`, `truncated` or `unknown-format`.
 */
export function openQemuStream(source: ByteSource, start = 0): Domain {
  const stream = readQemuStream(source, start)
  const { bytes, pages } = ramBlock(stream)
  const ram = ramOf(stream, bytes)
  const { json, offset } = stream.description
  const guest = json.at(GUEST_NOTE_OWNER)
  if (guest.present) {
    return withinDescription(offset, () => {
      const memory = new GuestMemory(openRanges(guest.at('memory')))
      return openGuest(guest, placePages(source, memory, pages, ram))
    })
  }
  const vcpus = vcpusOf(stream)
  const frames = ram.map(({ start, end }) => ({ start: pfnOf(start), end: pfnOf(end) }))
  const memory = placePages(source, new GuestMemory(frames), pages, ram)
  logSnapshot('qemu-stream: %s, %d pages, %d vcpus', stream.machine, memory.pageCount, vcpus.length)
  return savedGuest(memory, vcpus)
}

function savedGuest(memory: GuestMemory, vcpus: readonly Vcpu[]): Domain<HvmBoot> {
  const boot: HvmBoot = { kind: 'firmware', hvmParams: [] }
  return {
    type: 'hvm',
    abi: vcpus.some(({ efer }) => efer & BigInt(EFER_LMA)) ? 'x86_64' : 'x86_32',
    name: '',
    memory,
    maxmem: memory.pageCount * PAGE_SIZE,
    vcpus,
    regions: [],
    p2m: identityWhere(memory),
    boot,
    saved: { records: [] },
    pageType: pageTypes(boot),
  }
}

/** Returns the block of the guest's RAM. */
function ramBlock({ blocks }: QemuStream): { readonly bytes: number; readonly pages: PageIndex } {
  const names = [...blocks.keys()]
  const known = Object.values<QemuMachine>(QEMU_MACHINES).map(({ ram }) => ram)
  const found = names.filter((name) => known.includes(name) || name.startsWith(MEMORY_OBJECT))
  const block = found.length === 1 ? blocks.get(found[0] as string) : undefined
  return block ?? wrong('the RAM is not one block', known.join(' or '), (found.length > 1 ? found : names).join(', '))
}

/** Returns the addresses of the RAM in order of its block: by the clock's memory, or else by the name of the machine. */
function ramOf(stream: QemuStream, bytes: number): Range<Paddr>[] {
  const clock = stream.device(CLOCK.section)
  if (clock?.has(CLOCK.memory)) {
    const cmos = clock.bytes(CLOCK.memory)
    const number = (at: number, size: number): number =>
      Array.from({ length: size }, (_, i) => (cmos[at + i] ?? 0) * 2 ** (8 * i)).reduce((sum, part) => sum + part, 0)
    const { above16M, above4G, unit, start } = CMOS_MEMORY
    const low = start + number(above16M, 2) * unit
    const high = number(above4G, 3) * unit
    if (high > 0 && low + high === bytes) {
      return [
        { start: 0, end: low },
        { start: DEVICE_HOLE.end, end: DEVICE_HOLE.end + high },
      ]
    }
  }
  return machineRam(machineNamed(stream.machine), bytes)
}

/** Returns the machine whose memory is like that of a machine of that name, of any version. */
function machineNamed(name = ''): QemuMachine {
  const kind = name.replace(/-[\d.]+$/, '')
  const machines = Object.values<QemuMachine>(QEMU_MACHINES)
  return machines.find((machine) => machine.name.replace(/-[\d.]+$/, '') === kind) ?? QEMU_MACHINES.pc
}

/** Lays the pages of a block into memory. A page outside the guest must be empty. */
function placePages(
  source: ByteSource,
  memory: GuestMemory,
  index: PageIndex,
  ram: readonly Range<Paddr>[],
): GuestMemory {
  const data: Range<Pfn>[] = []
  for (const { pfn, pages, offset } of index.runs()) if (offset !== undefined) addRange(data, pfn, pfn + pages)
  let before: Pfn = 0
  let next = 0
  for (const { start, end } of ram) {
    const after = before + pfnOf(end - start)
    for (; next < data.length; next++) {
      const run = data[next] as Range<Pfn>
      const from = Math.max(run.start, before)
      const to = Math.min(run.end, after)
      if (from < to) {
        const paddr = start + paddrOf(from - before)
        const length = paddrOf(to - from)
        if (!memory.covers(paddr, length)) {
          wrong(
            'a page lies outside the guest',
            'pages that the guest has',
            showRange({ start: paddr, end: paddr + length }),
          )
        }
        memory.generate(paddr, length, (offset, out) => readPages(source, index, from + pfnOf(offset), out))
      }
      if (run.end > after) break
    }
    before = after
  }
  return memory
}

/** Returns the vcpus in order of their numbers. */
function vcpusOf(stream: QemuStream): Vcpu[] {
  const ids = stream.instances(CPU.name)
  if (ids.length === 0 || ids.length > MAX_VCPUS)
    wrong('the number of vcpus is invalid', `1 to ${MAX_VCPUS}`, `${ids.length}`)
  return ids.map((instance, id) => {
    const cpu = stream.device(CPU.name, instance)
    if (cpu === undefined || isWaiting(stream, instance, cpu)) return waitingVcpu(id)
    return vcpuOf(id, cpu)
  })
}

/**
 * Returns whether a processor has not been started yet. KVM keeps the APIC's bit for ever, and emulation keeps
 * `mp_state` as it was in a stream. So both have to say so; emulation alone halts a processor that KVM would call
 * runnable.
 */
function isWaiting(stream: QemuStream, instance: number, cpu: DeviceState): boolean {
  const state = cpu.has('env.mp_state') ? cpu.value('env.mp_state') : 0n
  const apic = stream.device(LOCAL_APIC.name, instance)
  if (apic === undefined) return state === BigInt(MP_STATE_WAITING)
  const waits = 'apic_sipi/wait_for_sipi'
  if (!apic.has(waits) || apic.value(waits) === 0n) return false
  const isHalted = (stream.device(CPU_COMMON.name, instance)?.value('halted') ?? 0n) !== 0n
  return state === BigInt(MP_STATE_WAITING) || (state === 0n && isHalted)
}

function vcpuOf(id: number, cpu: DeviceState): Vcpu {
  const general = cpu.values('env.regs')
  const debug = cpu.values('env.dr')
  const segments = QEMU_SEGMENTS.map((name, i) => [name, segmentOf(cpu, `env.segs[${i}]`)] as const)
  const gdtr = { base: cpu.value('env.gdt.base'), limit: Number(cpu.value('env.gdt.limit')) }
  return {
    id,
    online: true,
    registers: {
      ...(Object.fromEntries(QEMU_REGISTERS.map((name, i) => [name, general[i] ?? 0n])) as Omit<Registers, 'rip'>),
      rip: cpu.value('env.eip'),
      rflags: cpu.value('env.eflags'),
    },
    segments: Object.fromEntries(segments) as Record<SegmentRegister, SegmentState>,
    tr: segmentOf(cpu, 'env.tr'),
    ...defined({ gdtr: gdtr.base === 0n && gdtr.limit === 0 ? undefined : gdtr }),
    cr0: cpu.value('env.cr[0]'),
    cr3: cpu.value('env.cr[3]'),
    cr4: cpu.value('env.cr[4]'),
    efer: cpu.has('env.efer') ? cpu.value('env.efer') : 0n,
    dr6: debug[6] ?? 0n,
    dr7: debug[7] ?? 0n,
  }
}

function segmentOf(cpu: DeviceState, path: string): SegmentState {
  const [selector = 0, limit = 0, flags = 0] = ['selector', 'limit', 'flags'].map((name) =>
    Number(cpu.value(`${path}.${name}`)),
  )
  return loadedSegment(selector, cpu.value(`${path}.base`), limit, flags)
}
