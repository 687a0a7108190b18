/**
 * xen-domain-builder/testing: kernels of a few bytes, readers of a guest's boot information, assertions on it, and a
 * hypervisor in memory.
 *
 * Source: our own; each file names the specification it writes or reads.
 * Gotcha: the kernels are well-formed unless requested otherwise, but almost none of them would run.
 *
 * @example
 * ```ts
 * import { test } from 'node:test'
 * import { buildDomain, readKernel } from 'xen-domain-builder'
 * import { assertStartInfo, buildElf, patternBytes, xenNotes } from 'xen-domain-builder/testing'
 *
 * test('a 64 MiB guest finds its memory', async () => {
 *   const image = buildElf({
 *     class: 64,
 *     entry: 0xffffffff80100000n,
 *     segments: [{ paddr: 0x100000, vaddr: 0xffffffff80100000n, data: patternBytes(64) }],
 *     notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: 0xffffffff80000000n }),
 *   })
 *   assertStartInfo(buildDomain(await readKernel(image), { type: 'pv', memory: 64 * 2 ** 20 }), { nr_pages: 0x4000n })
 * })
 * ```
 *
 * @module xen-domain-builder/testing
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
export { type SupervisedEnd, type SupervisedEnding, supervisedEnd } from '../supervisor/ending.js'
export { supervise } from '../supervisor/supervise.js'
export {
  assertBootParams,
  assertGuest,
  assertHvmStartInfo,
  assertMapped,
  assertMemory,
  assertNotMapped,
  assertRegisters,
  assertStartInfo,
  assertTables,
  assertValid,
  type Some,
} from './assert.js'
export { type BzImageSpec, buildBzImage } from './bzimage.js'
export { buildElf, type ElfSpec, type SectionSpec, type SegmentSpec, symbolSections } from './elf.js'
export { type Expectation, goldenText } from './expectation.js'
export { type GuestMatcher, guestMatchers, type MatcherResult } from './matchers.js'
export { gnuPropertyNote, type NoteDesc, type NoteSpec, xenNotes } from './notes.js'
export { patternBytes } from './pattern.js'
export type { RecordedStore } from './recording-xen/recorded-store.js'
export { type RecordedCall, RecordingXen, type RecordingXenOptions } from './recording-xen/recording-xen.js'
export type { RecordedDomain, RecordedPort } from './recording-xen/xen-domain.js'
export { type BootInfoVariant, bootInfoVariants } from './variants/index.js'
