/**
 * The one table of snapshot formats, read by the library, the command, its completions and its pages.
 *
 * Source: one file for each format in this directory.
 * Gotcha: formats are tried in this order, so those with a sidecar come first: their main file could look like another
 * format.
 */
import { elfCoreFormat } from './elf-core.js'
import type { SnapshotFormat } from './format.js'
import { kdumpFormat } from './kdump.js'
import { kexecFormat } from './kexec.js'
import { libvirtFormat } from './libvirt-save.js'
import { qemuFormat } from './qemu.js'
import { qemuStreamFormat } from './qemu-stream.js'
import { rawFormat } from './raw.js'
import { xenCoreFormat } from './xen-core.js'
import { xlFormat } from './xen-save.js'

/** Every snapshot format, by its name. */
export const SNAPSHOT_FORMATS = {
  raw: rawFormat,
  qemu: qemuFormat,
  xl: xlFormat,
  'xen-core': xenCoreFormat,
  'elf-core': elfCoreFormat,
  kdump: kdumpFormat,
  kexec: kexecFormat,
  'qemu-stream': qemuStreamFormat,
  libvirt: libvirtFormat,
} as const satisfies Readonly<Record<string, SnapshotFormat>>

/** The name of a snapshot format. */
export type SnapshotFormatName = keyof typeof SNAPSHOT_FORMATS

/** The names, in the table's order. */
export const SNAPSHOT_FORMAT_NAMES = Object.keys(SNAPSHOT_FORMATS) as readonly SnapshotFormatName[]

const BY_EXTENSION: ReadonlyMap<string, SnapshotFormatName> = new Map(
  SNAPSHOT_FORMAT_NAMES.flatMap((name) => SNAPSHOT_FORMATS[name].extensions.map((extension) => [extension, name])),
)

/** The extensions that choose a format, each with its dot. */
export const KNOWN_EXTENSIONS: readonly string[] = [...BY_EXTENSION.keys()].map((extension) => `.${extension}`)

/** Returns the extension of a file's name, without its dot, or an empty string; it skips a `.gz` for compression. */
export const extensionOf = (name: string): string => /[^./\\]\.([^./\\]+?)(?:\.gz)?$/.exec(name)?.[1] ?? ''

/** Returns the format that an output's name chooses. */
export const formatByExtension = (name: string): SnapshotFormatName | undefined => BY_EXTENSION.get(extensionOf(name))
