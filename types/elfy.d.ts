/** What lib/kernel/elf.ts uses of elfy 1.0.0, which ships no types. */
declare module 'elfy' {
  export interface Header {
    class: '32' | '64'
    endian: 'lsb' | 'msb'
    phoff: number
    phentsize: number
    phnum: number
    shoff: number
    shentsize: number
    shnum: number
    shstrndx: number
  }
  export class Parser {
    parseHeader(buf: Buffer): Header
    parsePrograms(buf: Buffer, header: Header): unknown[]
    parseProgram(entry: Buffer, header: Header, buf: Buffer): unknown
    readUInt32(buf: Buffer, offset: number): number
  }
  const elfy: { readonly Parser: typeof Parser }
  export default elfy
}
