/**
 * The machines of QEMU that a stream can be made for: names, memory, and the devices in the order of their sections, with
 * their values after a reset.
 *
 * Source: QEMU hw/i386/pc_piix.c, pc_q35.c, microvm.c; streams of QEMU 7.2, which test/qemu/stream.qemu.ts compares.
 * Gotcha: the name of a pc and q35 has a version, because QEMU keeps such a machine unchanged in later releases.
 * microvm has no version. The blocks of ROM are listed because QEMU lists them; they stay empty, as no firmware runs.
 */
import { DEVICE_HOLE, PIC_CASCADE, PIC_MASKS, PIC_VECTORS } from './pc.js'
import {
  ACPI_BUILD,
  DMA,
  FDC,
  FW_CFG,
  FW_CFG_ACPI,
  GLOBALSTATE,
  HPET,
  I2C_BUS,
  I440FX,
  I8254,
  I8259,
  ICH9_AHCI,
  ICH9_SMB,
  ICH9LPC,
  IDE,
  IOAPIC,
  KVM_TPR_OPT,
  MCH,
  PCIBUS_4,
  PCIBUS_8,
  PCIHOST,
  PCKBD,
  PCSPK,
  PIIX3,
  PIIX4_PM,
  PORT92,
  PS2KBD,
  PS2MOUSE,
  SERIAL,
  TIMER,
  VMMOUSE,
} from './qemu-devices.js'
import { RUNNING } from './qemu-stream.js'
import type { FieldValues, VmStruct } from './vmstate.js'

/** A device of a machine. */
export interface QemuDevice {
  /** Of the section: the layout's, with the place on the bus for a PCI device. */
  readonly name: string
  readonly instance: number
  readonly layout: VmStruct
  readonly reset: FieldValues
}

/** A block of memory that is not the guest's RAM. */
interface RomBlock {
  readonly name: string
  readonly bytes: number
}

export interface QemuMachine {
  /** In the stream, and for `-machine`. */
  readonly name: string
  /** Further words for `-machine`. */
  readonly options: readonly string[]
  /** The block of the guest's RAM. */
  readonly ram: string
  readonly roms: readonly RomBlock[]
  /** The devices of the first processor come with it: `cpus` is the place of all. A number of sections is left out. */
  readonly devices: readonly (QemuDevice | 'cpus' | number)[]
  /** `interrupt_request` of every processor: the timer's first interrupt, on a machine with an HPET. */
  readonly interruptRequest: number
  /** RAM ends here at the latest below 4 GiB, if the machine has at least `from` bytes: the last entry that applies. */
  readonly lowMemory: readonly { readonly from: number; readonly end: number }[]
}

const device = (layout: VmStruct, reset: FieldValues = {}, name = layout.name, instance = 0): QemuDevice => ({
  name,
  instance,
  layout,
  reset,
})

/** Values of `count` elements that are alike. */
const each = (count: number, path: (i: number) => string, values: FieldValues): FieldValues =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) =>
      Object.entries(values).map(([name, value]) => [`${path(i)}.${name}`, value] as const),
    ).flat(),
  )

const OFF = (1n << 64n) - 1n

/** A PC's firmware has set up the controllers: the vectors of real mode, all IRQs masked, the 8086 mode (ICW4). */
const PICS = [
  device(I8259, { irq_base: PIC_VECTORS.master, imr: PIC_MASKS.master, init4: 1 }),
  device(I8259, { irq_base: PIC_VECTORS.slave, imr: PIC_MASKS.slave, init4: 1 }, I8259.name, PIC_CASCADE.slave - 1),
]
const THE_IOAPIC = device(IOAPIC, { ioredtbl: Array.from({ length: 24 }, () => 0x10000n) })
/** Counter 0 runs at 18.2 Hz in mode 2, as firmware sets it: the next change is in 65537 ticks of 1193182 Hz, in ns. */
const PIT_NEXT = 54926239n
const THE_I8254 = device(I8254, {
  ...each(3, (i) => `channels[${i}]`, { count: 0x10000, mode: 3 }),
  ...each(2, (i) => `channels[${i}]`, { gate: 1 }),
  'channels[0].mode': 2,
  'channels[0].rw_mode': 3,
  'channels[0].next_transition_time': PIT_NEXT,
})
const THE_SERIAL = device(SERIAL, {
  'state.divider': 12,
  'state.iir': 1,
  'state.mcr': 8,
  'state.lsr': 0x60,
  'state.msr': 0xb0,
})
const THE_GLOBALSTATE = device(GLOBALSTATE, {
  size: RUNNING.length + 1,
  runstate: new TextEncoder().encode(RUNNING),
})
const THE_FW_CFG = device(FW_CFG_ACPI, {
  'acpi_mr/table_mr_size': 0x20000n,
  'acpi_mr/linker_mr_size': 0x1000n,
  'acpi_mr/rsdp_mr_size': 0x14n,
})
const DMAS = [device(DMA, { mask: 0xff }), device(DMA, { mask: 0xff, dshift: 1 }, DMA.name, 1)]
const hpet = (config: bigint): QemuDevice =>
  device(HPET, {
    num_timers: 3,
    ...each(3, (i) => `timer[${i}]`, { config, cmp: OFF, qemu_timer: OFF }),
    'timer[1].tn': 1,
    'timer[2].tn': 2,
  })
const INPUTS = [
  device(PS2KBD, { 'parent_obj.write_cmd': -1, scan_enabled: 1, scancode_set: 2 }),
  device(PS2MOUSE, { 'parent_obj.write_cmd': -1 }),
  device(PCKBD, { 'kbd.status': 0x18, 'kbd.mode': 3 }),
  device(VMMOUSE, { queue_size: 0x400, status: 0xffff }),
  device(PORT92),
]
const THE_I2C_BUS = device(I2C_BUS, { saved_address: 0xff })
/** A drive that is absent. */
const NO_DRIVE = { mult_sectors: 16, nsector: 1, sector: 1, lcyl: 0xff, hcyl: 0xff, select: 0xa0, status: 0x50 }
const pci = (part: string, config: Readonly<Record<number, string>>): FieldValues => ({
  [`${part}.version_id`]: 2,
  [`${part}.config[0]`]: config,
})
/** The firmware of a PC: 256 KiB, and 128 KiB for the ROMs of cards; tables that it would ask for. */
const PC_ROMS: readonly RomBlock[] = [
  { name: '/rom@etc/acpi/tables', bytes: 0x20000 },
  { name: 'pc.bios', bytes: 0x40000 },
  { name: 'pc.rom', bytes: 0x20000 },
  { name: '/rom@etc/table-loader', bytes: 0x1000 },
  { name: '/rom@etc/acpi/rsdp', bytes: 0x1000 },
]
/** Sections that only a machine with hot-plugged devices has. */
const HOTPLUG_SECTIONS = 8
/** CPU_INTERRUPT_POLL: the controllers have an interrupt. */
const POLL = 0x10

const I440FX_CONFIG = {
  0: '86803712',
  8: '02',
  11: '06',
  44: 'f41a0011',
  114: '02',
} as const
/** The register of the i440FX that has the memory in units of 8 MiB, at most 0xff. */
export const I440FX_RAM_SIZE = {
  device: I440FX.name,
  path: 'parent_obj.config[0]',
  offset: 0x57,
  unit: 8 << 20,
  most: 0xff,
} as const

/** The machines, by the words for them. */
export const QEMU_MACHINES = {
  microvm: {
    name: 'microvm',
    options: ['acpi=off', 'pic=on', 'pit=on', 'rtc=on'],
    ram: 'microvm.ram',
    roms: [{ name: 'pc.bios', bytes: 0x10000 }],
    devices: [device(TIMER), device(FW_CFG), 'cpus', THE_IOAPIC, ...PICS, THE_I8254, 1, THE_SERIAL, THE_GLOBALSTATE],
    interruptRequest: 0,
    lowMemory: [{ from: 0, end: DEVICE_HOLE.start }],
  },
  pc: {
    name: 'pc-i440fx-7.2',
    options: [`max-ram-below-4g=${DEVICE_HOLE.start}`],
    ram: 'pc.ram',
    roms: PC_ROMS,
    devices: [
      device(TIMER),
      'cpus',
      THE_FW_CFG,
      device(PCIHOST),
      device(PCIBUS_4, { nirq: 4 }),
      device(I440FX, pci('parent_obj', I440FX_CONFIG), '0000:00:00.0/I440FX'),
      ...DMAS,
      device(
        PIIX3,
        pci('dev', {
          0: '86800070',
          7: '02',
          10: '0106',
          14: '80',
          44: 'f41a0011',
          76: '4d0003',
          96: '80808080',
          105: '02',
          112: '80',
          118: '0c0c02',
          160: '08',
          168: '0f',
        }),
        '0000:00:01.0/PIIX3',
      ),
      ...PICS,
      THE_IOAPIC,
      hpet(0x400000030n),
      1,
      THE_I8254,
      device(PCSPK),
      THE_SERIAL,
      device(FDC, {
        'state.sra': 0x40,
        'state.srb': 0xc0,
        'state.dor_vmstate': 0xc,
        'state.msr': 0x80,
        'state.data_len': 1,
        'state.config': 0x60,
        'state.num_floppies': 2,
      }),
      ...INPUTS,
      device(
        IDE,
        {
          ...pci('parent_obj', { 0: '86801070', 6: '800200800101', 32: '01', 44: 'f41a0011' }),
          ...each(2, (i) => `bus[0].ifs[${i}]`, NO_DRIVE),
          ...each(2, (i) => `bus[1].ifs[${i}]`, NO_DRIVE),
        },
        '0000:00:01.1/ide',
      ),
      THE_I2C_BUS,
      device(
        PIIX4_PM,
        {
          ...pci('parent_obj', {
            0: '86801371',
            6: '800203008006',
            44: 'f41a0011',
            61: '01',
            64: '01',
            95: '10',
            99: '60',
            103: '08',
            144: '01b1',
            210: '09',
          }),
          'ar.pm1.evt.sts': 1,
          'smb.smb_auxctl': 2,
          'smb.op_done': 1,
          'ar.tmr.timer': OFF,
        },
        '0000:00:01.3/piix4_pm',
      ),
      HOTPLUG_SECTIONS,
      device(ACPI_BUILD),
      THE_GLOBALSTATE,
    ],
    interruptRequest: POLL,
    lowMemory: [{ from: 0, end: DEVICE_HOLE.start }],
  },
  q35: {
    name: 'pc-q35-7.2',
    options: [],
    ram: 'pc.ram',
    roms: PC_ROMS,
    devices: [
      device(TIMER),
      'cpus',
      THE_FW_CFG,
      device(
        MCH,
        pci('parent_obj', { 0: '8680c029', 11: '06', 44: 'f41a0011', 80: '10', 99: 'b0', 157: '0238' }),
        '0000:00:00.0/mch',
      ),
      device(PCIHOST),
      device(PCIBUS_8, { nirq: 8 }),
      ...DMAS,
      device(
        ICH9LPC,
        {
          ...pci('d', {
            0: '86801829',
            8: '02000106',
            14: '80',
            44: 'f41a0011',
            64: '01',
            96: '80808080',
            104: '80808080',
            130: '01',
          }),
          'pm.acpi_regs.pm1.evt.sts': 1,
          'pm.acpi_regs.tmr.timer': OFF,
          'pm.tco/tco_regs.tco.cnt2': 8,
          'pm.tco/tco_regs.tco.tmr': 4,
          'pm.tco/tco_regs.sw_irq_gen': 3,
          'pm.tco/tco_regs.tco_timer': OFF,
          'pm.tco/tco_regs.expire_time': OFF,
          chip_config: { 12608: '1032', 12612: '103210321032', 12620: '1032', 12624: '1032', 13328: '20' },
        },
        '0000:00:1f.0/ICH9LPC',
      ),
      ...PICS,
      THE_IOAPIC,
      hpet(0xff010400000030n),
      1,
      THE_I8254,
      device(PCSPK),
      THE_SERIAL,
      ...INPUTS,
      device(
        ICH9_AHCI,
        {
          ...pci('parent_obj', {
            0: '86802229',
            6: '100002010601',
            14: '80',
            32: '01',
            44: 'f41a0011',
            52: '80',
            61: '01',
            128: '05a880',
            144: '40',
            168: '1200100048',
          }),
          ...each(6, (i) => `ahci.dev[${i}].port.ifs[0]`, NO_DRIVE),
          ...each(6, (i) => `ahci.dev[${i}]`, {
            'port_regs.cmd': 6,
            'port_regs.tfdata': 0x7f,
            'port_regs.sig': 0xffffffff,
            busy_slot: -1,
          }),
          'ahci.control_regs.cap': 0xc0141f05,
          'ahci.control_regs.ghc': 0x80000000,
          'ahci.control_regs.impl': 0x3f,
          'ahci.control_regs.version': 0x10000,
          'ahci.ports': 6,
        },
        '0000:00:1f.2/ich9_ahci',
      ),
      THE_I2C_BUS,
      device(
        ICH9_SMB,
        {
          ...pci('dev', { 0: '86803029', 8: '0200050c', 14: '80', 32: '01', 44: 'f41a0011', 61: '01' }),
          'smb.op_done': 1,
        },
        '0000:00:1f.3/ich9_smb',
      ),
      HOTPLUG_SECTIONS,
      device(ACPI_BUILD),
      THE_GLOBALSTATE,
    ],
    interruptRequest: POLL,
    lowMemory: [
      { from: 0, end: 0xb0000000 },
      { from: 0xb0000000, end: 0x80000000 },
    ],
  },
} as const satisfies Readonly<Record<string, QemuMachine>>

/** A machine's word. */
export type QemuMachineName = keyof typeof QEMU_MACHINES
/** The device that only the first processor has. */
export const FIRST_CPU_DEVICE = device(KVM_TPR_OPT)
/** The section of the clock, and its memory. It is only read. */
export const CLOCK = { section: 'mc146818rtc', memory: 'cmos_data' } as const
/** The beginning of the name of a block that a -object made: its address is not in the stream. */
export const MEMORY_OBJECT = '/objects/'
