/**
 * xen-domain-builder: a kernel's bytes -> `Kernel` -> `Domain` -> snapshot. This is the public API, and nothing else.
 *
 * Source: docs/toolstack.md.
 * Gotcha: anything not exported here may change without notice.
 *
 * @example
 * ```ts
 * import { readFile, writeFile } from 'node:fs/promises'
 * import { buildDomain, readKernel, readStartInfo, writeXl } from 'xen-domain-builder'
 *
 * const kernel = await readKernel(await readFile('vmlinuz'))
 * const guest = buildDomain(kernel, { type: 'pv', memory: 256 * 2 ** 20, cmdline: 'console=hvc0', purpose: 'restore' })
 * console.log(readStartInfo(guest).nr_pages) // 65536n
 * await writeFile('guest.xl', writeXl(guest)) // then: xl restore guest.xl
 * ```
 *
 * @module xen-domain-builder
 */
export type { BootParamsFields, SetupHeaderFields } from './abi/boot-params.js'
export { type FeatureName, XENFEAT } from './abi/features.js'
export { HVM_PARAM, type HvmParamName } from './abi/hvm-params.js'
export type { HvmStartInfoFields } from './abi/hvm-start-info.js'
export { XEN_RELEASES, type XenRelease } from './abi/xen-release.js'
export { DomainBuilderError, ERROR_CODES, type ErrorCode, type ErrorDetail, type ErrorJson } from './errors.js'
export type { AcpiProfile } from './guest/acpi.js'
export { type AcpiTable, readAcpi } from './guest/acpi-reader.js'
export { readBootParams, readCommandLine } from './guest/boot-params.js'
export {
  type BootInfo,
  type Domain,
  type DomainAbi,
  type DomainType,
  type GrantEntry,
  type HvmBoot,
  type HvmParam,
  type KernelOrigin,
  type LinuxBoot,
  type PageTableFrames,
  type PageType,
  type PvBoot,
  type PvhBoot,
  requirePv,
  type SavedRecord,
  type SavedState,
  type SharedPage,
  type TableFramesRun,
} from './guest/domain.js'
export { decodeHvmContext, encodeHvmContext } from './guest/hvm-context.js'
export { type FoundHvmStartInfo, type FoundModule, readHvmStartInfo } from './guest/hvm-start-info.js'
export { hypercallPage } from './guest/hypercall-page.js'
export type { LibxlSettings, LibxlValue } from './guest/libxl-config.js'
export { type Chunk, type Content, type Fill, GuestMemory, type Placed } from './guest/memory.js'
export type { P2m, P2mRange, P2mSpec } from './guest/p2m.js'
export type { Purpose } from './guest/purpose.js'
export { decodePvContext, encodePvContext } from './guest/pv-context.js'
export type { Region } from './guest/region.js'
export type { Run } from './guest/runs.js'
export { readStartInfo, type StartInfo } from './guest/start-info.js'
export { entryPfn, entryVaddr, type TablePage, walkPageTables } from './guest/table-reader.js'
export { readVirtual, type Translation, topTable, translate, type Walkable, type WalkStep } from './guest/translate.js'
export type { Descriptor, GeneralRegister, Registers, SegmentRegister, SegmentState, Vcpu } from './guest/vcpu.js'
export { describeDomain, describeKernel, domainText, kernelText } from './inspect/describe.js'
export {
  type Difference,
  type DomainDiff,
  diffDomains,
  diffText,
  type EntryDifference,
  type PageDifference,
} from './inspect/diff.js'
export { diffKernels } from './inspect/diff-kernels.js'
export { type EntryOrigin, explainEntry, explainStartInfo, type FieldOrigin } from './inspect/explain.js'
export type { FieldMap, StructMap } from './inspect/fields.js'
export type { PhysicalRange } from './inspect/frames.js'
export type { Json } from './inspect/json.js'
export { type Location, locator } from './inspect/location.js'
export { mapText } from './inspect/map.js'
export { type MapPageOptions, mapHtml } from './inspect/map-html.js'
export { type Bound, describeMap, type GuestMap, type VirtualRun } from './inspect/map-model.js'
export { mapPicture, type PictureOptions, pictureOptions } from './inspect/map-picture.js'
export { mapSvg } from './inspect/map-svg.js'
export { type MappedRun, mappedRuns } from './inspect/mapped-runs.js'
export { type NamedGuest, nameDifferences } from './inspect/name-differences.js'
export { needsSymbols, type Place, type PlaceOptions, resolvePlace, seenBy } from './inspect/place.js'
export { type MemoryMatch, type SearchOptions, searchMemory } from './inspect/search.js'
export { type GuestStats, guestStats, type PageKinds, type RegionStats, statsText } from './inspect/stats.js'
export { findStrings, type MemoryString, type StringEncoding, type StringsOptions } from './inspect/strings.js'
export type { EntryRun, TableMap } from './inspect/table-entries.js'
export { PV_MMU_RULES, type PvMmuRule, showPath, type Violation, validate } from './inspect/validate.js'
export { describeWalk, type WalkMap, type WalkStepMap, walkText } from './inspect/walk.js'
export type { BzImage, SetupFields } from './kernel/bzimage.js'
export type { ElfImage, Section, Segment } from './kernel/elf.js'
export { type Kernel, type KernelPart, type ReadKernelOptions, readKernel } from './kernel/kernel.js'
export type { ElfNote, UnreadableNotes } from './kernel/notes.js'
export { parseRelocs, type Relocs } from './kernel/relocs.js'
export type { UkiSection } from './kernel/uki.js'
export { splitPayload } from './kernel/unwrap.js'
export { bootVerdict, bootVerdicts, type Verdict, type VerdictType } from './kernel/verdict.js'
export type { XenParams } from './kernel/xen-params.js'
export { buildDomain } from './protocol/build.js'
export type { CommonConfig } from './protocol/common-config.js'
export type { AutoConfig, DomainConfig } from './protocol/config.js'
export type { LinuxConfig, Ring, SetupDataNode, Subarch } from './protocol/linux-config.js'
export type { Module } from './protocol/modules.js'
export type { Dom0Console, PvConfig } from './protocol/pv-config.js'
export type { PvhConfig, PvhDom0 } from './protocol/pvh-config.js'
export type { PvhPlatform } from './protocol/pvh-platform.js'
export { policiesOf } from './protocol/toolstack-config.js'
export { parseXlCfg, type XlCfgValue } from './protocol/xl-cfg.js'
export {
  readXlCfg,
  type XlCfgGuest,
  type XlCfgOverrides,
  type XlCfgType,
  type XlCfgXen,
} from './protocol/xl-cfg-guest.js'
export type { ByteSet, PatternNode } from './search/byte-tree.js'
export { type BytePattern, hexPattern, regexPattern, textPattern } from './search/pattern.js'
export { type ByteSource, bytesSource } from './snapshot/byte-source.js'
export { type ApplyOptions, applyDeltas, type Delta, writeDelta } from './snapshot/delta.js'
export type { PageCounts } from './snapshot/delta-pages.js'
export { type ElfCoreOptions, writeElfCore } from './snapshot/elf-core.js'
export type { SnapshotFormat, SnapshotSource, WriteOptions } from './snapshot/format.js'
export { SNAPSHOT_FORMATS, type SnapshotFormatName } from './snapshot/formats.js'
export { writeKdump } from './snapshot/kdump-write.js'
export { writeKexec } from './snapshot/kexec.js'
export { type LibvirtOptions, writeLibvirt } from './snapshot/libvirt-save.js'
export { type MemoryState, openMemory } from './snapshot/memory-image.js'
export { type FilesBeside, type OpenOptions, openSnapshot, type SniffOptions, sniffSnapshot } from './snapshot/open.js'
export { qemuArguments } from './snapshot/qemu.js'
export { bootRom } from './snapshot/qemu-rom.js'
export { type QemuStreamOptions, writeQemuStream } from './snapshot/qemu-stream.js'
export { memoryScratch, type Scratch } from './snapshot/scratch.js'
export { type Part as FilePart, type Piece, SnapshotFile, type Stretch } from './snapshot/snapshot-file.js'
export { type WriteOptionsOf, writeSnapshot } from './snapshot/write.js'
export { writeXenCore } from './snapshot/xen-core.js'
export { writeXl, type XlOptions } from './snapshot/xen-save.js'
export { findSymbols } from './symbols/find-symbols.js'
export { moveSymbols } from './symbols/move-symbols.js'
export { readSymbols } from './symbols/read-symbols.js'
export {
  type KernelSymbol,
  type NearSymbol,
  type SymbolTable,
  showSymbol,
  symbolTable,
} from './symbols/symbol-table.js'
export type { Mfn, Paddr, Pfn, Range, Vaddr } from './units.js'
export { PAGE_SIZE, parseSize } from './units.js'
export type { Part, Slices, WorkOptions } from './work.js'
