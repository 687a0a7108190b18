/**
 * xen-domain-builder/testing: kernels of a few bytes, for tests of anything that reads kernels.
 *
 * Source: our own; each file names the specification it writes.
 * Gotcha: what these build is well-formed unless asked otherwise, but almost none of it would run.
 */
export { Assembler, type Condition, type Memory, mem, type Register, registers } from '../asm/assembler.js'
export { SystemAssembler } from '../asm/system.js'
export { type BzImageSpec, buildBzImage } from './bzimage.js'
export { buildElf, type ElfSpec, type SectionSpec, type SegmentSpec, symbolSections } from './elf.js'
export { gnuPropertyNote, type NoteDesc, type NoteSpec, xenNotes } from './notes.js'
export { patternBytes } from './pattern.js'
