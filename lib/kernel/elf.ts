/**
 * ELF headers and segments, every u64 exact and every range checked against the file.
 *
 * Source: the System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html).
 * Gotcha: the file may be longer than its ELF: a bzImage's payload has a relocation table behind it.
 */

/** One program header, fields as in the file. */
export interface Segment {
  readonly type: number
  /** PF_X | PF_W | PF_R. */
  readonly flags: number
  /** Bytes from the start of the ELF; offset + filesz lies within the file. */
  readonly offset: number
  readonly vaddr: bigint
  readonly paddr: bigint
  /** Bytes; filesz <= memsz for every PT_LOAD. */
  readonly filesz: number
  readonly memsz: bigint
  readonly align: bigint
}

/** One section header, read only where something falls back on sections. */
export interface Section {
  readonly name: string
  readonly type: number
  readonly flags: bigint
  readonly addr: bigint
  readonly offset: number
  readonly size: number
  readonly link: number
  readonly info: number
  readonly align: bigint
  readonly entsize: bigint
}

export interface ElfImage {
  readonly class: 32 | 64
  /** e_type: ET_EXEC, ET_DYN, ... */
  readonly type: number
  /** e_machine: EM_386 or EM_X86_64. */
  readonly machine: number
  readonly entry: bigint
  readonly segments: readonly Segment[]
  /** Headers with a name and a range within the file; empty where the file has none or they are damaged. */
  readonly sections: readonly Section[]
  /** The whole file that the ELF begins, what follows the ELF included. A view, never copied. */
  readonly bytes: Uint8Array
  /** Where the ELF itself ends: the last byte that any header or segment or section covers, plus one. */
  readonly end: number
}
