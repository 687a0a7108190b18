/**
 * ACPI tables for a guest, as firmware would have left them in memory.
 *
 * Source: ACPI specification 6.5, chapter 5 (https://uefi.org/specs/ACPI/6.5/); for Xen's PVH guests,
 * docs/misc/pvh.pandoc ("Hardware description") and tools/libacpi; for VMMs, tried on QEMU's pc, q35 and microvm.
 * Gotcha: with reduced hardware a kernel ignores every device that the DSDT does not name. Without COM1 in it, user
 * space writes to a missing serial port.
 */

import {
  AcpiHeader,
  BOOT_ARCH,
  COM1,
  DSDT_REVISION,
  FACS_ALIGN,
  FACS_SIGNATURE,
  FACS_VERSION,
  FADT_FLAG,
  FADT_REVISION,
  Facs,
  Fadt,
  GAS_SYSTEM_IO,
  GenericAddress,
  IO_APIC_ADDRESS,
  MADT_INTERRUPT_OVERRIDE,
  MADT_IO_APIC,
  MADT_LOCAL_APIC,
  MADT_LOCAL_APIC_ENABLED,
  MADT_PCAT_COMPAT,
  MADT_REVISION,
  Madt,
  MadtInterruptOverride,
  MadtIoApic,
  MadtLocalApic,
  MPS_INTI_HIGH_LEVEL,
  NO_C_STATE_LATENCY,
  PC_PM,
  RSDP_REVISION,
  RSDP_SIGNATURE,
  RSDP_V1_BYTES,
  Rsdp,
  XSDT_ENTRY_BYTES,
  XSDT_REVISION,
} from '../abi/acpi.js'
import { LOCAL_APIC_ADDRESS } from '../abi/pc.js'
import type { Infer } from '../abi/struct.js'
import { concat, encodeLatin1 } from '../bytes.js'
import { alignUp, PAGE_SIZE, type Paddr } from '../units.js'
import { aPackage, device, edgeInterrupt, eisaId, integer, name, ports, resources, scope } from './aml.js'

/**
 * The machines that the tables describe:
 * `xen`, that of a Xen PVH guest: local APICs and nothing else, reduced hardware;
 * `pc`, a VMM's machine with the registers of QEMU's pc and q35: PM timer, I/O APIC, COM1;
 * `reduced`, a VMM's machine without PM registers (Firecracker, Cloud Hypervisor, microvm): I/O APIC, COM1.
 */
export const ACPI_PROFILES = ['xen', 'pc', 'reduced'] as const
/** The ACPI tables of a PVH guest: those of Xen, of a PC with PM registers, or of reduced hardware. */
export type AcpiProfile = (typeof ACPI_PROFILES)[number]

interface AcpiTables {
  /** All tables, from the address they were made for. */
  readonly bytes: Uint8Array
  readonly rsdp: Paddr
}

/** All tables except FACS and RSDP lie at multiples of this. */
const TABLE_ALIGN = 16

const ascii = (text: string, length: number): Uint8Array => {
  const out = new Uint8Array(length)
  out.set(encodeLatin1(text).subarray(0, length))
  return out
}

/** The value of one more byte that makes all bytes add up to 0. */
const checksum = (bytes: Uint8Array): number => -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff

/** The OEM and OEM table names; the first are those of Xen's tables. */
const OEM = { xen: ['Xen', 'HVM'], pc: ['XDB', 'PVHGUEST'], reduced: ['XDB', 'PVHGUEST'] } as const

function table(profile: AcpiProfile, signature: string, revision: number, body: Uint8Array): Uint8Array {
  const [oem, oemTable] = OEM[profile]
  const out = new Uint8Array(AcpiHeader.size + body.length)
  const header: Infer<typeof AcpiHeader> = {
    signature: ascii(signature, 4),
    length: out.length,
    revision,
    checksum: 0,
    oem_id: ascii(oem.padEnd(6), 6),
    oem_table_id: ascii(oemTable.padEnd(8), 8),
    oem_revision: 1,
    creator_id: ascii('XDB ', 4),
    creator_revision: 1,
  }
  out.set(AcpiHeader.encode(header))
  out.set(body, AcpiHeader.size)
  out[AcpiHeader.offsetOf('checksum')] = checksum(out)
  return out
}

function facs(): Uint8Array {
  return Facs.encode({
    signature: ascii(FACS_SIGNATURE, 4),
    length: Facs.size,
    hardware_signature: 0,
    waking_vector: 0,
    global_lock: 0,
    flags: 0,
    x_waking_vector: 0n,
    version: FACS_VERSION,
  })
}

/** COM1 and, with the registers for it, the power-off state; empty for Xen. */
function dsdtBody(profile: AcpiProfile): Uint8Array {
  if (profile === 'xen') return new Uint8Array(0)
  const off = profile === 'pc' ? name('_S5_', aPackage(integer(0), integer(0))) : []
  const com1 = device(
    'COM1',
    name('_HID', eisaId(COM1.HID)),
    name('_UID', integer(1)),
    name('_CRS', resources(ports(COM1.PORT, COM1.PORTS), edgeInterrupt(COM1.IRQ))),
  )
  return Uint8Array.from([...off, ...scope('_SB_', com1)])
}

type FadtFields = Infer<typeof Fadt>

const port = (address: number, bytes: number): Infer<typeof GenericAddress> => ({
  ...GenericAddress.zero,
  address_space_id: GAS_SYSTEM_IO,
  register_bit_width: bytes * 8,
  address: BigInt(address),
})

/** Fixed registers: none, or those of a PC. */
function fixedHardware(profile: AcpiProfile): Partial<FadtFields> {
  const { WBINVD, PROC_C1, PWR_BUTTON, SLP_BUTTON, FIX_RTC, TMR_VAL_EXT, USE_PLATFORM_CLOCK } = FADT_FLAG
  const noButtons = PWR_BUTTON | SLP_BUTTON
  if (profile === 'xen') {
    return {
      flags: WBINVD | PROC_C1 | noButtons | FIX_RTC | TMR_VAL_EXT | USE_PLATFORM_CLOCK | FADT_FLAG.HW_REDUCED_ACPI,
      iapc_boot_arch: BOOT_ARCH.VGA_NOT_PRESENT | BOOT_ARCH.CMOS_RTC_NOT_PRESENT,
    }
  }
  const iapc_boot_arch = BOOT_ARCH.LEGACY_DEVICES | BOOT_ARCH.VGA_NOT_PRESENT
  if (profile === 'reduced') return { flags: WBINVD | PROC_C1 | noButtons | FADT_FLAG.HW_REDUCED_ACPI, iapc_boot_arch }
  return {
    iapc_boot_arch,
    flags: WBINVD | PROC_C1 | SLP_BUTTON | FADT_FLAG.RESET_REG_SUP,
    sci_int: PC_PM.SCI,
    pm1a_evt_blk: PC_PM.EVT,
    pm1_evt_len: 4,
    x_pm1a_evt_blk: port(PC_PM.EVT, 4),
    pm1a_cnt_blk: PC_PM.CNT,
    pm1_cnt_len: 2,
    x_pm1a_cnt_blk: port(PC_PM.CNT, 2),
    pm_tmr_blk: PC_PM.TMR,
    pm_tmr_len: 4,
    x_pm_tmr_blk: port(PC_PM.TMR, 4),
    reset_reg: port(PC_PM.RESET, 1),
    reset_value: PC_PM.RESET_VALUE,
  }
}

function fadtBody(profile: AcpiProfile, facsAt: Paddr, dsdtAt: Paddr): Uint8Array {
  return Fadt.encode({
    ...Fadt.zero,
    firmware_ctrl: facsAt,
    x_firmware_ctrl: BigInt(facsAt),
    dsdt: dsdtAt,
    x_dsdt: BigInt(dsdtAt),
    p_lvl2_lat: NO_C_STATE_LATENCY,
    p_lvl3_lat: NO_C_STATE_LATENCY,
    ...fixedHardware(profile),
  })
}

/** Xen's vcpus have only even APIC ids, as if each were a core of two threads. */
const apicId = (profile: AcpiProfile, vcpu: number): number => (profile === 'xen' ? 2 * vcpu : vcpu)

function madtBody(profile: AcpiProfile, vcpus: number): Uint8Array {
  const entries: Uint8Array[] = [Madt.encode({ local_apic_address: LOCAL_APIC_ADDRESS, flags: MADT_PCAT_COMPAT })]
  for (let i = 0; i < vcpus; i++) {
    const ids = { acpi_processor_id: i, apic_id: apicId(profile, i), flags: MADT_LOCAL_APIC_ENABLED }
    entries.push(MadtLocalApic.encode({ type: MADT_LOCAL_APIC, length: MadtLocalApic.size, ...ids }))
  }
  const override = (source: number, gsi: number, flags: number) =>
    MadtInterruptOverride.encode({
      type: MADT_INTERRUPT_OVERRIDE,
      length: MadtInterruptOverride.size,
      bus: 0,
      source,
      gsi,
      flags,
    })
  if (profile !== 'xen') {
    const ioApic = { io_apic_id: 0, io_apic_address: IO_APIC_ADDRESS, gsi_base: 0 }
    entries.push(MadtIoApic.encode({ type: MADT_IO_APIC, length: MadtIoApic.size, ...ioApic }), override(0, 2, 0))
  }
  if (profile === 'pc') entries.push(override(PC_PM.SCI, PC_PM.SCI, MPS_INTI_HIGH_LEVEL))
  return concat(entries)
}

/** The size of the tables from acpiTables(), in bytes. */
export const acpiBytes = (profile: AcpiProfile, vcpus: number): number => acpiTables(profile, vcpus, 0).bytes.length

/**
 * Returns the tables of a guest, one after another: FACS, DSDT, FADT, MADT, XSDT, RSDP.
 * @param base their address: a multiple of a page, below 4 GiB.
 */
export function acpiTables(profile: AcpiProfile, vcpus: number, base: Paddr): AcpiTables {
  const pieces: { at: number; bytes: Uint8Array }[] = []
  let end = 0
  const put = (bytes: Uint8Array, align: number): Paddr => {
    const at = alignUp(end, align)
    pieces.push({ at, bytes })
    end = at + bytes.length
    return base + at
  }
  const facsAt = put(facs(), FACS_ALIGN)
  const dsdtAt = put(table(profile, 'DSDT', DSDT_REVISION, dsdtBody(profile)), TABLE_ALIGN)
  const fadtAt = put(table(profile, 'FACP', FADT_REVISION, fadtBody(profile, facsAt, dsdtAt)), TABLE_ALIGN)
  const madtAt = put(table(profile, 'APIC', MADT_REVISION, madtBody(profile, vcpus)), TABLE_ALIGN)
  const entries = new Uint8Array(2 * XSDT_ENTRY_BYTES)
  const view = new DataView(entries.buffer)
  view.setBigUint64(0, BigInt(fadtAt), true)
  view.setBigUint64(XSDT_ENTRY_BYTES, BigInt(madtAt), true)
  const xsdtAt = put(table(profile, 'XSDT', XSDT_REVISION, entries), TABLE_ALIGN)
  // Xen gives it a separate page.
  const rsdp = put(rsdpBytes(profile, xsdtAt), profile === 'xen' ? PAGE_SIZE : TABLE_ALIGN)
  const bytes = new Uint8Array(end)
  for (const piece of pieces) bytes.set(piece.bytes, piece.at)
  return { bytes, rsdp }
}

function rsdpBytes(profile: AcpiProfile, xsdtAt: Paddr): Uint8Array {
  const out = Rsdp.encode({
    signature: ascii(RSDP_SIGNATURE, 8),
    checksum: 0,
    oem_id: ascii(OEM[profile][0].padEnd(6), 6),
    revision: RSDP_REVISION,
    rsdt_address: 0,
    length: Rsdp.size,
    xsdt_address: BigInt(xsdtAt),
    extended_checksum: 0,
  })
  out[Rsdp.offsetOf('checksum')] = checksum(out.subarray(0, RSDP_V1_BYTES))
  out[Rsdp.offsetOf('extended_checksum')] = checksum(out)
  return out
}
