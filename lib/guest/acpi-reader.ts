/**
 * readAcpi: reads a guest's ACPI tables from its memory, starting at the RSDP. An independent check of the writer.
 *
 * Source: ACPI specification 6.5, chapter 5.2
 * (https://uefi.org/specs/ACPI/6.5/05_ACPI_Software_Programming_Model.html).
 * Gotcha: the XSDT does not list DSDT and FACS: only the FADT points to them. A FACS has no checksum.
 */

import { AcpiHeader, FACS_SIGNATURE, Fadt, RSDP_SIGNATURE, RSDP_V1_BYTES, Rsdp, XSDT_ENTRY_BYTES } from '../abi/acpi.js'
import { decodeLatin1 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { hex, narrow, type Paddr } from '../units.js'
import type { GuestMemory } from './memory.js'

/** A table that the RSDP leads to: its address (bytes) and its content. */
export interface AcpiTable {
  /** Four letters, such as `FACP`; eight and a space for the RSDP. */
  readonly signature: string
  /** Guest-physical address, in bytes. */
  readonly paddr: Paddr
  /** The whole table with its header; a copy. */
  readonly bytes: Uint8Array
  /** Whether all its bytes add up to 0 (modulo 256); a FACS's need not. */
  readonly checksumOk: boolean
}

/** Tables are small; a table that claims to be larger is damaged. */
const MAX_BYTES = 1 << 20
const MAX_TABLES = 64

const sumsToZero = (bytes: Uint8Array): boolean => bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0) === 0

/**
 * Returns RSDP, XSDT and the tables it lists; after the FADT follow the tables that it points to.
 * @throws DomainBuilderError `bad-snapshot` if there are no such tables, `not-mapped` for addresses outside the memory.
 */
export function readAcpi(memory: GuestMemory, rsdp: Paddr): AcpiTable[] {
  const bytes = memory.read(rsdp, Rsdp.size)
  const { signature, xsdt_address } = Rsdp.decode(bytes)
  if (decodeLatin1(signature) !== RSDP_SIGNATURE)
    throw damaged('RSDP', `'${RSDP_SIGNATURE}'`, `'${decodeLatin1(signature)}'`)
  const checksumOk = sumsToZero(bytes.subarray(0, RSDP_V1_BYTES)) && sumsToZero(bytes)
  const tables: AcpiTable[] = [{ signature: RSDP_SIGNATURE, paddr: rsdp, bytes, checksumOk }]
  const xsdt = readTable(memory, xsdt_address)
  tables.push(xsdt)
  const entries = (xsdt.bytes.length - AcpiHeader.size) / XSDT_ENTRY_BYTES
  if (xsdt.signature !== 'XSDT' || !Number.isInteger(entries) || entries > MAX_TABLES) {
    throw damaged('XSDT', `at most ${MAX_TABLES} entries`, `${xsdt.bytes.length} bytes of ${xsdt.signature}`)
  }
  const view = new DataView(xsdt.bytes.buffer, xsdt.bytes.byteOffset)
  for (let i = 0; i < entries; i++) {
    const found = readTable(memory, view.getBigUint64(AcpiHeader.size + i * XSDT_ENTRY_BYTES, true))
    tables.push(found)
    if (found.signature !== 'FACP') continue
    const { x_dsdt, x_firmware_ctrl } = Fadt.decode(found.bytes, AcpiHeader.size)
    for (const address of [x_dsdt, x_firmware_ctrl]) if (address !== 0n) tables.push(readTable(memory, address))
  }
  return tables
}

function readTable(memory: GuestMemory, address: bigint): AcpiTable {
  const paddr = narrow(address, 'the address of an ACPI table')
  // A FACS, too, begins with signature and length, and is longer than a header.
  const { signature, length } = AcpiHeader.decode(memory.read(paddr, AcpiHeader.size))
  if (length < AcpiHeader.size || length > MAX_BYTES) {
    throw damaged(`table at ${hex(paddr)}`, `${AcpiHeader.size} to ${MAX_BYTES} bytes`, `${length}`)
  }
  const bytes = memory.read(paddr, length)
  const name = decodeLatin1(signature)
  return { signature: name, paddr, bytes, checksumOk: name === FACS_SIGNATURE || sumsToZero(bytes) }
}

const damaged = (what: string, expected: string, found: string): DomainBuilderError =>
  new DomainBuilderError('bad-snapshot', `ACPI: the ${what} is damaged`, { expected, found })
