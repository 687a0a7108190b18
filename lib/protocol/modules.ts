/**
 * Modules: ramdisks with their command lines, and the package that start_info can point to instead of a single one.
 *
 * Source: xen/include/public/xen.h, SIF_MULTIBOOT_MOD and struct xen_multiboot_mod_list; tools/libs/guest/xg_dom_core.c
 * for what older builders do with a gzip module; confirmed byte for byte against libxenguest.
 * Gotcha: every offset in a package counts from its own first byte, so that a guest can rebase it at any address.
 */

import { XenMultibootModList } from '../abi/start-info.js'
import { type XenRelease, xenHas } from '../abi/xen-release.js'
import { encodeUtf8 } from '../bytes.js'
import { gunzipMember } from '../codec/gzip.js'
import { DomainBuilderError } from '../errors.js'
import { alignUp, hex, PAGE_SIZE, U32_MAX } from '../units.js'

/** A ramdisk or other module. Its bytes are not copied: they must not change afterwards. */
export interface Module {
  /** At least one; not copied. */
  readonly bytes: Uint8Array
  /** Default empty. */
  readonly cmdline?: string
}

/** The content of one region: pieces at offsets in it, and their total size in bytes. */
export interface ModuleRegion {
  readonly name: string
  readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[]
  readonly length: number
}

/**
 * Returns a multiboot module package: the list, the command lines, then each module on a separate page.
 * @throws DomainBuilderError `does-not-fit` when it is longer than its 32-bit offsets allow.
 */
export function multibootPackage(modules: readonly Module[]): ModuleRegion {
  const listBytes = (modules.length + 1) * XenMultibootModList.size
  const list = new Uint8Array(listBytes)
  const pieces: { offset: number; bytes: Uint8Array }[] = [{ offset: 0, bytes: list }]
  let end = listBytes
  const cmdlines = modules.map(({ cmdline = '' }) => {
    const bytes = encodeUtf8(`${cmdline}\0`)
    const offset = end
    pieces.push({ offset, bytes })
    end += bytes.length
    return offset
  })
  modules.forEach(({ bytes }, i) => {
    const mod_start = alignUp(end, PAGE_SIZE)
    end = mod_start + bytes.length
    if (end > U32_MAX) {
      throw new DomainBuilderError('does-not-fit', 'the modules are too large for a multiboot package', {
        expected: `at most ${hex(U32_MAX)} bytes`,
        found: hex(end),
      })
    }
    list.set(
      XenMultibootModList.encode({ mod_start, mod_end: end - 1, cmdline: cmdlines[i] as number }),
      i * XenMultibootModList.size,
    )
    pieces.push({ offset: mod_start, bytes })
  })
  return { name: 'modules', pieces, length: end }
}

/** A module as a builder loads it. */
export interface LoadedModule extends Module {
  /** The length that the guest is told: at least that of the bytes. Zeros fill the rest. */
  readonly length: number
}

/** A gzip stream begins with these, and ends with its length: a u32. */
const GZIP_MAGIC = [0x1f, 0x8b]
const GZIP_LENGTH_BYTES = 4
/** libxenguest adds this to the length that a stream claims. */
const GUNZIP_ROOM = 16
/** XC_DOM_DECOMPRESS_MAX: a stream that claims more is loaded as it is. */
const GUNZIP_MAX = 2 ** 30

/** Returns the modules of a domU as that release of libxenguest loads them. */
export function loadedModules(modules: readonly Module[], xen: XenRelease): LoadedModule[] {
  const loaded = modules.map((module) =>
    xenHas(xen, 'gunzips-modules') ? gunzipped(module) : { ...module, length: module.bytes.length },
  )
  return xenHas(xen, 'whole-page-modules')
    ? loaded.map((module) => ({ ...module, length: alignUp(module.length, PAGE_SIZE) }))
    : loaded
}

/** Returns a module decompressed, if it is gzip; as it is, in as much room, if that fails. */
function gunzipped(module: Module): LoadedModule {
  const { bytes } = module
  const asGiven = { ...module, length: bytes.length }
  if (bytes.length < GZIP_MAGIC.length + GZIP_LENGTH_BYTES) return asGiven
  if (GZIP_MAGIC.some((byte, i) => bytes[i] !== byte)) return asGiven
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const claimed = view.getUint32(bytes.length - GZIP_LENGTH_BYTES, true)
  if (claimed > GUNZIP_MAX) return asGiven
  const room = claimed + GUNZIP_ROOM
  return { ...module, bytes: gunzipMember(bytes, room) ?? bytes, length: Math.max(room, bytes.length) }
}

/** Returns a separate region for each module; start_info has room for the first alone, by tradition the ramdisk. */
export function separateModules(modules: readonly LoadedModule[]): ModuleRegion[] {
  return modules.map(({ bytes, length }, i) => ({
    name: i === 0 ? 'ramdisk' : `module${i}`,
    pieces: [{ offset: 0, bytes }],
    length,
  }))
}
