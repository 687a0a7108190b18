/**
 * The configuration keys that every type of guest takes, and the purpose of a guest.
 *
 * Source: xl.cfg(5).
 * Gotcha: memory is bytes here; only the command line reads a bare number as MiB.
 */
import { PURPOSES, type Purpose } from '../guest/purpose.js'
import { checkedInteger, PADDR_MAX, PAGE_SIZE } from '../units.js'
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

/** The configuration common to all types of guest. */
export interface CommonConfig {
  /** In bytes, a multiple of 4096. */
  readonly memory: number
  /** 1 to 128; all but the first wait for the guest to start them. Default 1. */
  readonly vcpus?: number
  /** UTF-8 without NUL. Default empty. */
  readonly cmdline?: string
  /** One ramdisk, or at most 256 modules, with their command lines if they have any. The bytes are not copied. */
  readonly ramdisk?: Uint8Array | readonly (Uint8Array | Module)[]
  /** The bytes that the guest may grow to, at least `memory`, which it starts with. Default `memory`. */
  readonly maxmem?: number
  /** Default "guest". */
  readonly name?: string
  /** Default `create`; a guest of the Linux boot protocol, or of platform pc, is always for a `vmm`. */
  readonly purpose?: Purpose
}

export const COMMON_KEYS = keysOf<keyof CommonConfig>({
  memory: true,
  vcpus: true,
  cmdline: true,
  ramdisk: true,
  maxmem: true,
  name: true,
  purpose: true,
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
}

/** HVM_MAX_VCPUS of xen/include/public/hvm/hvm_info_table.h, and our bound for the other types of guest. */
const HVM_MAX_VCPUS = 128
/** Each module is a region of the guest, so many more would be slow to place. */
const MAX_MODULES = 256

/** @throws DomainBuilderError `bad-config`. */
export function checkCommon(words: Words<keyof CommonConfig>): CommonOptions {
  // Destructuring defaults apply to undefined only: null is a value, and is refused.
  const { vcpus = 1, cmdline = '', ramdisk = [], name = 'guest' } = words
  const memory = checkedInteger(words.memory, 'memory (bytes)', PAGE_SIZE, PADDR_MAX)
  if (memory % PAGE_SIZE !== 0) {
    throw badConfig('memory is not a whole number of pages', `a multiple of ${PAGE_SIZE} bytes`, `${memory}`)
  }
  const { maxmem = memory } = words
  return {
    memory,
    vcpus: checkedInteger(vcpus, 'vcpus', 1, HVM_MAX_VCPUS),
    cmdline: checkedText(cmdline, 'cmdline'),
    modules: checkModules(ramdisk),
    maxmem: checkedInteger(maxmem, 'maxmem (bytes)', memory, PADDR_MAX),
    name: checkedText(name, 'name'),
    purpose: optional(words.purpose, (purpose) => checkedChoice(purpose, 'purpose', PURPOSES)),
  }
}

function checkModules(ramdisk: unknown): Module[] {
  if (ArrayBuffer.isView(ramdisk)) return [{ bytes: checkedBytes(ramdisk, 'ramdisk') }]
  if (typeof ramdisk !== 'object') throw badConfig('ramdisk cannot be used', 'bytes, or a list', typeof ramdisk)
  return checkedArray(ramdisk, 'ramdisk', MAX_MODULES).map((module) => {
    if (ArrayBuffer.isView(module)) return { bytes: checkedBytes(module, 'a module') }
    const { bytes, cmdline = '' } = checkedObject(module, 'a module', ['bytes', 'cmdline'])
    return { bytes: checkedBytes(bytes, 'a module'), cmdline: checkedText(cmdline, "a module's cmdline") }
  })
}
