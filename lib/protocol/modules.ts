/**
 * Modules: ramdisks with their command lines, and the package that start_info can point to instead of a single one.
 *
 * Source: xen/include/public/xen.h, SIF_MULTIBOOT_MOD and struct xen_multiboot_mod_list.
 * Gotcha: every offset in a package counts from its own first byte, so that a guest can rebase it at any address.
 */
import { XenMultibootModList } from '../abi/start-info.js'
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { alignUp, hex, PAGE_SIZE, U32_MAX } from '../units.js'

/** A ramdisk or other module. Its bytes are not copied: they must not change afterwards. */
export interface Module {
  /** Of any length; not copied. */
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
    // An empty module ends before it starts, as a half-open range would.
    const mod_end = Math.max(end, 1) - 1
    list.set(
      XenMultibootModList.encode({ mod_start, mod_end, cmdline: cmdlines[i] ?? 0 }),
      i * XenMultibootModList.size,
    )
    pieces.push({ offset: mod_start, bytes })
  })
  return { name: 'modules', pieces, length: end }
}

/** Returns a separate region for each module; start_info has room for the first alone, by tradition the ramdisk. */
export function separateModules(modules: readonly Module[]): ModuleRegion[] {
  return modules.map(({ bytes }, i) => ({
    name: i === 0 ? 'ramdisk' : `module${i}`,
    pieces: [{ offset: 0, bytes }],
    length: bytes.length,
  }))
}
