/**
 * xen-domain-builder/node: kernels and snapshots by file name, for Node.
 *
 * Source: docs/snapshots.md, "In a program".
 * Gotcha: this is the part of the library that needs Node; the rest runs anywhere.
 *
 * @example
 * ```ts
 * import { buildDomain } from 'xen-domain-builder'
 * import { openSnapshotFile, readKernelFile, writeSnapshotFile } from 'xen-domain-builder/node'
 *
 * const guest = buildDomain(await readKernelFile('vmlinuz'), { type: 'pv', memory: 256 * 2 ** 20 })
 * console.log((await writeSnapshotFile(guest, 'guest.img')).files) // [ 'guest.img', 'guest.img.json' ]
 * const { domain, close } = await openSnapshotFile('guest.img')
 * console.log(domain.memory.pageCount) // 65536
 * close()
 * ```
 *
 * @module xen-domain-builder/node
 */
export { readKernelFile } from './kernel-file.js'
export type { OutputOptions } from './output.js'
export {
  type OpenedSnapshot,
  type OpenFileOptions,
  openSnapshotFile,
  type WriteFileOptions,
  type WrittenSnapshot,
  writeDeltaFile,
  writeSnapshotFile,
} from './snapshot-files.js'
