/**
 * PE files, as far as a unified kernel image (UKI) needs them: the way to the section headers, and the sections' names.
 *
 * Source: https://learn.microsoft.com/en-us/windows/win32/debug/pe-format;
 * https://uapi-group.org/specifications/specs/unified_kernel_image/.
 * Gotcha: the section headers follow the optional header, whose size the COFF header has.
 */
import { bytes, struct, u16, u32 } from './struct.js'

export const MZ_MAGIC = 'MZ'
/** Offset of e_lfanew, the u32 that has the offset of the signature. */
export const E_LFANEW_OFFSET = 0x3c
export const PE_SIGNATURE = 'PE\0\0'
/** The most sections of an image, as in the loader of Windows. */
export const PE_SECTIONS_MAX = 96

/** It follows the signature. */
export const CoffHeader = struct('IMAGE_FILE_HEADER', 20, {
  Machine: u16,
  NumberOfSections: u16,
  TimeDateStamp: u32,
  PointerToSymbolTable: u32,
  NumberOfSymbols: u32,
  SizeOfOptionalHeader: u16,
  Characteristics: u16,
})

export const SectionHeader = struct('IMAGE_SECTION_HEADER', 40, {
  Name: bytes(8),
  VirtualSize: u32,
  VirtualAddress: u32,
  SizeOfRawData: u32,
  PointerToRawData: u32,
  PointerToRelocations: u32,
  PointerToLinenumbers: u32,
  NumberOfRelocations: u16,
  NumberOfLinenumbers: u16,
  Characteristics: u32,
})

/** The section of a UKI that holds its kernel. */
export const UKI_LINUX = '.linux'
/** The sections of a UKI that change the guest, if its stub starts the kernel. */
export const UKI_CMDLINE = '.cmdline'
export const UKI_INITRD = '.initrd'
