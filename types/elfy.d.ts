/** What lib/kernel/elf.ts uses of elfy 1.0.0, which ships no types. */
declare module 'elfy' {
  import type { BufferView } from '../lib/abi/buffer.js'

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
  class Parser {
    parseHeader(buf: BufferView): Header
    parsePrograms(buf: BufferView, header: Header): unknown[]
    parseProgram(entry: BufferView, header: Header, buf: BufferView): unknown
  }
  const elfy: { readonly Parser: typeof Parser }
  export default elfy
}
