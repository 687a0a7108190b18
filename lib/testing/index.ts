/**
 * xen-domain-builder/testing: kernels of a few bytes, readers of a guest's boot information, and assertions on it.
 *
 * Source: our own; each file names the specification it writes or reads.
 * Gotcha: the kernels are well-formed unless requested otherwise, but almost none of them would run.
 *
 * @packageDocumentation
 */
export type { XenNoteName } from '../abi/elfnote.js'
export {
  Assembler,
  type CodeBits,
  type Condition,
  type Memory,
  mem,
  type Register,
  registers,
} from '../asm/assembler.js'
export { SystemAssembler } from '../asm/system.js'
export { readBootParams } from '../guest/boot-params.js'
export { readHvmStartInfo } from '../guest/hvm-start-info.js'
export { readStartInfo } from '../guest/start-info.js'
export { walkPageTables } from '../guest/table-reader.js'
export { translate } from '../guest/translate.js'
export {
  assertBootParams,
  assertHvmStartInfo,
  assertMapped,
  assertNotMapped,
  assertStartInfo,
  type Some,
} from './assert.js'
export { type BzImageSpec, buildBzImage } from './bzimage.js'
export { buildElf, type ElfSpec, type SectionSpec, type SegmentSpec, symbolSections } from './elf.js'
export { gnuPropertyNote, type NoteDesc, type NoteSpec, xenNotes } from './notes.js'
export { patternBytes } from './pattern.js'
