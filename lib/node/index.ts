/**
 * Files for Node users: kernels and snapshots by name.
 *
 * Source: README.md, "Files".
 * Gotcha: this is the part of the library that needs Node; the rest runs anywhere.
 *
 * @packageDocumentation
 */
export { readKernelFile } from './kernel-file.js'
export {
  type OpenedSnapshot,
  openSnapshotFile,
  type WriteFileOptions,
  type WrittenSnapshot,
  writeSnapshotFile,
} from './snapshot-files.js'
