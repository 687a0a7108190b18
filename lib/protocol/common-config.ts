/**
 * The configuration keys that every type of guest takes, and the purpose of a guest.
 *
 * Source: xl.cfg(5).
 * Gotcha: memory is bytes here; only the command line reads a bare number as MiB.
 */
import { NEWEST_XEN, XEN_RELEASES, type XenRelease } from '../abi/xen-release.js'
import type { SavedRecord } from '../guest/domain.js'
import type { LibxlSettings } from '../guest/libxl-config.js'
import { PURPOSES, type Purpose } from '../guest/purpose.js'
import { checkedInteger, PADDR_MAX, PAGE_SIZE, shown } from '../units.js'
import {
  badConfig,
  checkedArray,
  checkedBytes,
  checkedChoice,
  checkedObject,
  checkedText,
  keysOf,
  optional,
  type Words,
} from './config-values.js'
import type { Module } from './modules.js'
import { checkToolstack, type ToolstackOptions } from './toolstack-config.js'

/** The configuration common to all types of guest. */
export interface CommonConfig {
  /** In bytes, a multiple of 4096. */
  readonly memory: number
  /** 1 to 128; all but the first wait for the guest to start them. Default 1. */
  readonly vcpus?: number
  /** UTF-8 without NUL. Default empty. */
  readonly cmdline?: string
  /** One ramdisk, or at most 256 modules, with their command lines if they have any; none empty, and none copied. */
  readonly ramdisk?: Uint8Array | readonly (Uint8Array | Module)[]
  /**
   * The bytes that a guest of Xen may grow to, at least `memory`, which it starts with. Default `memory`. A PVH guest
   * is told of all of them: Xen populates them on demand, or in a restored guest at once.
   */
  readonly maxmem?: number
  /** Default "guest". */
  readonly name?: string
  /** Default `create`; a guest of the Linux boot protocol, or of platform pc, is always for a `vmm`. */
  readonly purpose?: Purpose
  /**
   * The release of Xen whose toolstack would build the guest; only for a guest of Xen. Default the newest, 4.22. The
   * differences are in docs/xen-releases.md.
   */
  readonly xen?: XenRelease
  /**
   * Settings for Xen's toolstack that the guest's own do not decide, as libxl's JSON has them; only for a guest of Xen.
   * They are in its save file. Default those that xl gives every guest.
   */
  readonly settings?: LibxlSettings
  /** Processor policies, as `policiesOf` returns them; only for a guest of Xen. Default: the host chooses. */
  readonly policies?: readonly SavedRecord[]
}

export const COMMON_KEYS = keysOf<keyof CommonConfig>({
  memory: true,
  vcpus: true,
  cmdline: true,
  ramdisk: true,
  maxmem: true,
  name: true,
  purpose: true,
  xen: true,
  settings: true,
  policies: true,
})

/** The checked common configuration, with defaults filled in; each type has its own default purpose. */
export interface CommonOptions {
  readonly memory: number
  readonly vcpus: number
  readonly cmdline: string
  readonly modules: readonly Module[]
  readonly maxmem: number
  readonly name: string
  readonly purpose: Purpose | undefined
  /** Whether the configuration named the release. */
  readonly xenAsked: boolean
  readonly xen: XenRelease
  readonly toolstack: ToolstackOptions
}

/** HVM_MAX_VCPUS of xen/include/public/hvm/hvm_info_table.h, and our bound for the other types of guest. */
const HVM_MAX_VCPUS = 128
/** Each module is a region of the guest, so many more would be slow to place. */
const MAX_MODULES = 256

/** @throws DomainBuilderError `bad-config`. */
export function checkCommon(words: Words<keyof CommonConfig>): CommonOptions {
  // Destructuring defaults apply to undefined only: null is a value, and is refused.
  const { vcpus = 1, cmdline = '', ramdisk = [], name = 'guest', xen = NEWEST_XEN } = words
  const memory = checkedInteger(words.memory, 'memory (bytes)', PAGE_SIZE, PADDR_MAX)
  if (memory % PAGE_SIZE !== 0) {
    throw badConfig('memory is not a whole number of pages', `a multiple of ${PAGE_SIZE} bytes`, `${memory}`)
  }
  const { maxmem = memory } = words
  const release = checkedChoice(xen, 'xen', XEN_RELEASES)
  return {
    memory,
    vcpus: checkedInteger(vcpus, 'vcpus', 1, HVM_MAX_VCPUS),
    cmdline: checkedText(cmdline, 'cmdline'),
    modules: checkModules(ramdisk),
    maxmem: checkedInteger(maxmem, 'maxmem (bytes)', memory, PADDR_MAX),
    name: checkedText(name, 'name'),
    purpose: optional(words.purpose, (purpose) => checkedChoice(purpose, 'purpose', PURPOSES)),
    xenAsked: words.xen !== undefined,
    xen: release,
    toolstack: checkToolstack(words.settings, words.policies, release),
  }
}

/** @throws DomainBuilderError `bad-config` for what a dom0 of any type cannot have. */
export function requireDom0({ purpose, modules, toolstack }: CommonOptions): void {
  if (purpose === 'restore') throw badConfig('a dom0 cannot be restored', "purpose 'create' or 'vmm'", "'restore'")
  // Xen takes the first module after the kernel, and ignores the others.
  if (modules.length > 1) throw badConfig('a dom0 has one ramdisk', 'at most one module', `${modules.length}`)
  refuseToolstack(toolstack, 'a dom0')
}

/** @throws DomainBuilderError `bad-config` if the configuration has a key for Xen, of a guest without Xen. */
export function refuseXen({ xenAsked, xen, toolstack, maxmem, memory }: CommonOptions, who: string): void {
  const expected = 'a guest that Xen starts'
  if (xenAsked) throw badConfig(`xen is invalid for ${who}`, expected, shown(xen))
  if (maxmem > memory) throw badConfig(`maxmem is invalid for ${who}`, `${memory}, the memory`, `${maxmem}`)
  refuseToolstack(toolstack, who)
}

function refuseToolstack({ settings, policies }: ToolstackOptions, who: string): void {
  const expected = 'a guest that a toolstack of Xen starts'
  if (settings !== undefined) throw badConfig(`settings are invalid for ${who}`, expected, 'settings')
  if (policies.length > 0) throw badConfig(`policies are invalid for ${who}`, expected, 'policies')
}

function checkModules(ramdisk: unknown): Module[] {
  if (ArrayBuffer.isView(ramdisk)) return [{ bytes: moduleBytes(ramdisk, 'ramdisk') }]
  if (typeof ramdisk !== 'object') throw badConfig('ramdisk cannot be used', 'bytes, or a list', typeof ramdisk)
  return checkedArray(ramdisk, 'ramdisk', MAX_MODULES).map((module) => {
    if (ArrayBuffer.isView(module)) return { bytes: moduleBytes(module, 'a module') }
    const { bytes, cmdline = '' } = checkedObject(module, 'a module', ['bytes', 'cmdline'])
    return { bytes: moduleBytes(bytes, 'a module'), cmdline: checkedText(cmdline, "a module's cmdline") }
  })
}

/** Returns a module's bytes. libxenguest refuses a file of no bytes too. */
function moduleBytes(value: unknown, what: string): Uint8Array {
  const bytes = checkedBytes(value, what)
  if (bytes.length === 0) throw badConfig(`${what} is empty`, 'at least one byte, or none given', '0 bytes')
  return bytes
}
