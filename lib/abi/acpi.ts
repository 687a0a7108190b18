/**
 * ACPI tables as they lie in memory: RSDP, XSDT, FADT, MADT, FACS, and the numbers in them; AML's opcodes.
 *
 * Source: ACPI specification 6.5, chapters 5 (tables), 6.4 (resources) and 20 (AML)
 * (https://uefi.org/specs/ACPI/6.5/); the FADT is that of ACPI 5.0, 268 bytes, which every guest we know reads.
 * Gotcha: the FADT holds its registers twice, as a port and as a generic address. Readers differ in which one they use,
 * so both must agree.
 */
import { bytes, pad, struct, u8, u16, u32, u64 } from './struct.js'

export const RSDP_SIGNATURE = 'RSD PTR '
/** Bytes of the RSDP that its first checksum covers: the whole RSDP of ACPI 1.0. */
export const RSDP_V1_BYTES = 20
export const Rsdp = struct('RSDP', 36, {
  signature: bytes(8),
  checksum: u8,
  oem_id: bytes(6),
  revision: u8,
  rsdt_address: u32,
  length: u32,
  xsdt_address: u64,
  extended_checksum: u8,
  _reserved: pad(3),
})
/** ACPI 2.0 and later: there is an XSDT. */
export const RSDP_REVISION = 2

/** The header of every table except the FACS. */
export const AcpiHeader = struct('DESCRIPTION_HEADER', 36, {
  signature: bytes(4),
  length: u32,
  revision: u8,
  checksum: u8,
  oem_id: bytes(6),
  oem_table_id: bytes(8),
  oem_revision: u32,
  creator_id: bytes(4),
  creator_revision: u32,
})

/** An XSDT is a header and u64 addresses. */
export const XSDT_ENTRY_BYTES = 8
export const XSDT_REVISION = 1
/** 2: integers in AML have 64 bits. */
export const DSDT_REVISION = 2

export const GAS_SYSTEM_IO = 1
export const GenericAddress = struct('GAS', 12, {
  address_space_id: u8,
  register_bit_width: u8,
  register_bit_offset: u8,
  access_size: u8,
  address: u64,
})

export const FADT_REVISION = 5
/** The FADT after its header. */
export const Fadt = struct('FADT', 232, {
  firmware_ctrl: u32,
  dsdt: u32,
  _reserved0: pad(1),
  preferred_pm_profile: u8,
  sci_int: u16,
  smi_cmd: u32,
  acpi_enable: u8,
  acpi_disable: u8,
  s4bios_req: u8,
  pstate_cnt: u8,
  pm1a_evt_blk: u32,
  pm1b_evt_blk: u32,
  pm1a_cnt_blk: u32,
  pm1b_cnt_blk: u32,
  pm2_cnt_blk: u32,
  pm_tmr_blk: u32,
  gpe0_blk: u32,
  gpe1_blk: u32,
  pm1_evt_len: u8,
  pm1_cnt_len: u8,
  pm2_cnt_len: u8,
  pm_tmr_len: u8,
  gpe0_blk_len: u8,
  gpe1_blk_len: u8,
  gpe1_base: u8,
  cst_cnt: u8,
  p_lvl2_lat: u16,
  p_lvl3_lat: u16,
  flush_size: u16,
  flush_stride: u16,
  duty_offset: u8,
  duty_width: u8,
  day_alrm: u8,
  mon_alrm: u8,
  century: u8,
  iapc_boot_arch: u16,
  _reserved1: pad(1),
  flags: u32,
  reset_reg: GenericAddress,
  reset_value: u8,
  arm_boot_arch: u16,
  minor_version: u8,
  x_firmware_ctrl: u64,
  x_dsdt: u64,
  x_pm1a_evt_blk: GenericAddress,
  x_pm1b_evt_blk: GenericAddress,
  x_pm1a_cnt_blk: GenericAddress,
  x_pm1b_cnt_blk: GenericAddress,
  x_pm2_cnt_blk: GenericAddress,
  x_pm_tmr_blk: GenericAddress,
  x_gpe0_blk: GenericAddress,
  x_gpe1_blk: GenericAddress,
  sleep_control_reg: GenericAddress,
  sleep_status_reg: GenericAddress,
})

/** FADT flags (table 5.10). */
export const FADT_FLAG = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  /** The fixed registers have no power button; SLP_BUTTON likewise. */
  PWR_BUTTON: 1 << 4,
  SLP_BUTTON: 1 << 5,
  /** The RTC does not wake through the fixed registers. */
  FIX_RTC: 1 << 6,
  /** The PM timer has 32 bits. */
  TMR_VAL_EXT: 1 << 8,
  RESET_REG_SUP: 1 << 10,
  USE_PLATFORM_CLOCK: 1 << 15,
  /** There are no fixed registers at all. */
  HW_REDUCED_ACPI: 1 << 20,
} as const

/** iapc_boot_arch (table 5.11). */
export const BOOT_ARCH = {
  LEGACY_DEVICES: 1 << 0,
  VGA_NOT_PRESENT: 1 << 2,
  CMOS_RTC_NOT_PRESENT: 1 << 5,
} as const
/** p_lvl2_lat, p_lvl3_lat: beyond 100 and 1000, so that neither state exists. */
export const NO_C_STATE_LATENCY = 0xfff

/** The PM registers of QEMU's pc and q35 after PMBASE is set to 0x600, and the reset register. */
export const PC_PM = { SCI: 9, EVT: 0x600, CNT: 0x604, TMR: 0x608, RESET: 0xcf9, RESET_VALUE: 6 } as const

export const FACS_SIGNATURE = 'FACS'
export const FACS_ALIGN = 64
export const Facs = struct('FACS', 64, {
  signature: bytes(4),
  length: u32,
  hardware_signature: u32,
  waking_vector: u32,
  global_lock: u32,
  flags: u32,
  x_waking_vector: u64,
  version: u8,
  _reserved: pad(31),
})
export const FACS_VERSION = 1

export const MADT_REVISION = 2
/** The MADT between its header and its entries. */
export const Madt = struct('MADT', 8, { local_apic_address: u32, flags: u32 })
/** The machine has 8259s too. */
export const MADT_PCAT_COMPAT = 1 << 0

export const MADT_LOCAL_APIC = 0
export const MadtLocalApic = struct('MADT Processor Local APIC', 8, {
  type: u8,
  length: u8,
  acpi_processor_id: u8,
  apic_id: u8,
  flags: u32,
})
export const MADT_LOCAL_APIC_ENABLED = 1 << 0
export const MADT_IO_APIC = 1
export const MadtIoApic = struct('MADT I/O APIC', 12, {
  type: u8,
  length: u8,
  io_apic_id: u8,
  _reserved: pad(1),
  io_apic_address: u32,
  gsi_base: u32,
})
export const MADT_INTERRUPT_OVERRIDE = 2
export const MadtInterruptOverride = struct('MADT Interrupt Source Override', 10, {
  type: u8,
  length: u8,
  bus: u8,
  source: u8,
  gsi: u32,
  flags: u16,
})
/** Active high, level triggered. */
export const MPS_INTI_HIGH_LEVEL = 0xd

export const IO_APIC_ADDRESS = 0xfec00000

/** AML (chapter 20.2). */
export const AML = {
  ZERO: 0x00,
  ONE: 0x01,
  NAME: 0x08,
  BYTE_PREFIX: 0x0a,
  WORD_PREFIX: 0x0b,
  DWORD_PREFIX: 0x0c,
  SCOPE: 0x10,
  BUFFER: 0x11,
  PACKAGE: 0x12,
  EXT_PREFIX: 0x5b,
  EXT_DEVICE: 0x82,
} as const

/** Resource descriptors (chapter 6.4). */
export const RESOURCE = {
  /** Small, seven bytes: ports. */
  IO_PORT: 0x47,
  DECODE_16: 1,
  /** Large: interrupts. For one interrupt, 6 bytes after the length. */
  EXTENDED_INTERRUPT: 0x89,
  INTERRUPT_CONSUMER: 1 << 0,
  INTERRUPT_EDGE: 1 << 1,
  /** Small, with a checksum of one byte, 0 being "not checked". */
  END_TAG: 0x79,
} as const

/** A PC's first serial port, and the plug-and-play name of such ports. */
export const COM1 = { PORT: 0x3f8, PORTS: 8, IRQ: 4, HID: 'PNP0501' } as const
