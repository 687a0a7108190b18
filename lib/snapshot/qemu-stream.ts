/**
 * The qemu-stream format: QEMU's migration stream, which `qemu-system-x86_64 -incoming` starts without firmware.
 *
 * Source: ../abi/qemu-stream.ts; QEMU docs/devel/migration/main.rst.
 * Gotcha: QEMU finds the sections of its devices by name and number, and refuses one that it does not have. So the
 * stream is for one machine, whose command line is in ./qemu-machine.ts.
 */

import { GUEST_NOTE_OWNER } from '../abi/core-files.js'
import { APIC_EXTINT, APIC_NMI, APIC_SVR_ENABLED } from '../abi/pc.js'
import { APIC_RESET, APIC_WAITING, APICBASE_BSP, CPU, CPU_COMMON, LOCAL_APIC, LVT } from '../abi/qemu-cpu.js'
import {
  FIRST_CPU_DEVICE,
  I440FX_RAM_SIZE,
  QEMU_MACHINES,
  type QemuDevice,
  type QemuMachine,
  type QemuMachineName,
} from '../abi/qemu-machines.js'
import {
  FIRST_DEVICE_ID,
  PAGE_HEADER,
  QEMU_STREAM_MAGIC,
  QEMU_STREAM_VERSION,
  RAM_FLAG,
  RAM_SECTION,
  SECTION,
  TIMER_SECTION_ID,
} from '../abi/qemu-stream.js'
import { concat, encodeLatin1, encodeUtf8 } from '../bytes.js'
import { didYouMean } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { inRealMode, type Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE, shown } from '../units.js'
import { atOnce, type Slices } from '../work.js'
import { requireBareGuest } from './bare-guest.js'
import type { SnapshotFormat, WriteOptions } from './format.js'
import { GUEST_JSON_VERSION, guestJson } from './guest-json.js'
import { cpuValues } from './qemu-cpu.js'
import { DEFAULT_MACHINE, machineMemory, machineRam, QEMU_MACHINE_NAMES } from './qemu-machine.js'
import { type RamBlock, ramPages } from './qemu-ram.js'
import { openQemuStream } from './qemu-stream-guest.js'
import { isQemuStream } from './qemu-stream-reader.js'
import { type Part, SnapshotFile, solid } from './snapshot-file.js'
import { bigEndian, counted, describeDevice, encodeState, qemuJson } from './vmstate.js'

/** The options for writing a stream. */
export interface QemuStreamOptions extends WriteOptions {
  /** The machine that the stream is for. Default: microvm. */
  readonly machine?: QemuMachineName
}

/** The most vcpus: the number of a local APIC is a byte, and 0xff means all. */
const MAX_APICS = 255

/**
 * Returns a guest as QEMU's migration stream.
 * @throws DomainBuilderError `does-not-fit` for a guest that needs Xen, or that the machine has no room for.
 */
export function writeQemuStream(domain: Domain, options: QemuStreamOptions = {}): SnapshotFile {
  return atOnce(streamSlices(domain, options))
}

/** Makes the same in slices: QEMU looks into every page, so all content is read first. */
function* streamSlices(domain: Domain, options: QemuStreamOptions = {}): Slices<SnapshotFile> {
  return new SnapshotFile('', yield* streamParts(domain, options), options)
}

/** Returns the parts of a stream. @throws DomainBuilderError as writeQemuStream() does. */
export function* streamParts(domain: Domain, options: QemuStreamOptions): Slices<Part[]> {
  const vcpu = requireBareGuest(domain, 'QEMU')
  if (inRealMode(vcpu)) {
    throw new DomainBuilderError(
      'does-not-fit',
      'the guest begins in real mode and calls a BIOS, which a stream lacks',
      {
        expected: 'another entry, or the qemu format',
        found: 'the 16-bit entry',
      },
    )
  }
  const machine = requireMachine(options.machine)
  const { name, ram, roms }: QemuMachine = QEMU_MACHINES[machine]
  const { length: vcpus } = domain.vcpus
  if (vcpus > MAX_APICS) {
    throw new DomainBuilderError('does-not-fit', 'the guest has too many vcpus for the machine', {
      expected: `at most ${MAX_APICS}`,
      found: `${vcpus}`,
    })
  }
  const bytes = machineMemory(machine, domain)
  const blocks: RamBlock[] = [
    { name: ram, bytes, ranges: machineRam(QEMU_MACHINES[machine], bytes) },
    ...roms.map((rom) => ({ ...rom, ranges: [] })),
  ]
  const devices = [...machineDevices(domain, QEMU_MACHINES[machine], bytes)]
  const memory = yield* ramPages(domain.memory, blocks)
  const end = concat([endOfPages(), footer(RAM_SECTION.id)])
  return [
    solid(
      concat([
        bigEndian(QEMU_STREAM_MAGIC, 4),
        bigEndian(QEMU_STREAM_VERSION, 4),
        concat([bigEndian(SECTION.CONFIGURATION, 1), bigEndian(name.length, 4), encodeLatin1(name)]),
        header(SECTION.START, RAM_SECTION.id, { ...RAM_SECTION, instance: 0 }),
        ramSizes(blocks),
        end,
        header(SECTION.PART, RAM_SECTION.id),
      ]),
    ),
    memory,
    solid(
      concat([
        end,
        header(SECTION.END, RAM_SECTION.id),
        end,
        ...devices.map(deviceSection),
        bigEndian(SECTION.EOF, 1),
        description(domain, devices),
      ]),
    ),
  ]
}

/** Returns the name of a machine. @throws DomainBuilderError `bad-config` for another word. */
function requireMachine(machine: string = DEFAULT_MACHINE): QemuMachineName {
  const known = QEMU_MACHINE_NAMES.find((name) => name === machine)
  if (known !== undefined) return known
  throw new DomainBuilderError(
    'bad-config',
    `the machine is unknown${didYouMean(String(machine), QEMU_MACHINE_NAMES)}`,
    {
      expected: QEMU_MACHINE_NAMES.join(', '),
      found: shown(machine),
    },
  )
}

/** A section: its number, and the device with the values of all fields. */
interface DeviceSection extends QemuDevice {
  readonly id: number
}

/** Yields the devices of a machine with the guest's state, in the order of their sections. */
function* machineDevices(domain: Domain, machine: QemuMachine, bytes: number): Generator<DeviceSection> {
  let id: number = TIMER_SECTION_ID
  for (const device of machine.devices) {
    if (typeof device === 'number') id += device
    else if (device === 'cpus') for (const cpu of cpuDevices(domain, machine)) yield { ...cpu, id: id++ }
    else yield { ...sized(device, bytes), id: id++ }
    // The timers have a separate number.
    id = Math.max(id, FIRST_DEVICE_ID)
  }
}

/** Returns a device whose values depend on the size of the memory. */
function sized(device: QemuDevice, bytes: number): QemuDevice {
  const { path, offset, unit, most } = I440FX_RAM_SIZE
  const config = device.name.endsWith(I440FX_RAM_SIZE.device) ? device.reset[path] : undefined
  if (config === undefined) return device
  const size = Math.min(Math.floor(bytes / unit), most)
  return {
    ...device,
    reset: { ...device.reset, [path]: { ...(config as object), [offset]: size.toString(16).padStart(2, '0') } },
  }
}

function* cpuDevices({ vcpus }: Domain, { interruptRequest }: QemuMachine): Generator<QemuDevice> {
  for (const vcpu of vcpus) {
    const instance = vcpu.id
    const halted = vcpu.online ? 0 : 1
    const common = { halted, interrupt_request: interruptRequest }
    yield { name: CPU_COMMON.name, instance, layout: CPU_COMMON, reset: common }
    yield { name: CPU.name, instance, layout: CPU, reset: cpuValues(vcpu) }
    if (vcpu === vcpus[0]) yield FIRST_CPU_DEVICE
    yield apicOf(vcpu)
  }
}

/** Returns the local APIC of a vcpu: of the first one in virtual wire mode, as firmware leaves it. */
function apicOf({ id, online }: Vcpu): QemuDevice {
  const base = { ...APIC_RESET, id }
  const device = { name: LOCAL_APIC.name, instance: id }
  if (!online) return { ...device, layout: APIC_WAITING, reset: { ...base, 'apic_sipi/wait_for_sipi': 1 } }
  const lvt = [...base.lvt]
  lvt[LVT.LINT0] = APIC_EXTINT
  lvt[LVT.LINT1] = APIC_NMI
  const apicbase = base.apicbase | APICBASE_BSP
  return { ...device, layout: LOCAL_APIC, reset: { ...base, apicbase, spurious_vec: APIC_SVR_ENABLED, lvt } }
}

function header(type: number, id: number, named?: { name: string; instance: number; version: number }): Uint8Array {
  const start = concat([bigEndian(type, 1), bigEndian(id, 4)])
  if (named === undefined) return start
  return concat([start, counted(named.name), bigEndian(named.instance, 4), bigEndian(named.version, 4)])
}

const footer = (id: number): Uint8Array => concat([bigEndian(SECTION.FOOTER, 1), bigEndian(id, 4)])

const endOfPages = (): Uint8Array => bigEndian(RAM_FLAG.END, PAGE_HEADER)

/** Returns the list of the blocks with their sizes. */
function ramSizes(blocks: readonly RamBlock[]): Uint8Array {
  const total = blocks.reduce((sum, { bytes }) => sum + bytes, 0)
  return concat([
    bigEndian(total + RAM_FLAG.SIZES, PAGE_HEADER),
    ...blocks.flatMap(({ name, bytes }) => [counted(name), bigEndian(bytes, 8)]),
  ])
}

function deviceSection({ id, name, instance, layout, reset }: DeviceSection): Uint8Array {
  return concat([
    header(SECTION.FULL, id, { name, instance, version: layout.version }),
    encodeState(layout, reset),
    footer(id),
  ])
}

/** Returns the description of the devices. QEMU ignores its content, so it is the place for the rest of the guest. */
function description(domain: Domain, devices: readonly DeviceSection[]): Uint8Array {
  const ranges = domain.memory.ranges.map(({ start, end }) => [start, end])
  const json = encodeUtf8(
    qemuJson({
      page_size: PAGE_SIZE,
      devices: devices.map(({ name, instance, layout }) => describeDevice(name, instance, layout)),
      [GUEST_NOTE_OWNER]: { version: GUEST_JSON_VERSION, ...guestJson(domain, { ranges }) },
    }),
  )
  return concat([bigEndian(SECTION.DESCRIPTION, 1), bigEndian(json.length, 4), json])
}

/** The format that QEMU's -incoming starts, and that it saves guests in. */
export const qemuStreamFormat: SnapshotFormat<QemuStreamOptions> = {
  name: 'qemu-stream',
  summary: "QEMU's migration stream, for -incoming",
  extensions: ['mig'],
  files: [''],
  purpose: 'vmm',
  sniff: ({ main }) => isQemuStream(main),
  open: ({ main }) => openQemuStream(main),
  *write(domain, options) {
    return [yield* streamSlices(domain, options)]
  },
}
