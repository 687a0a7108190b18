/**
 * The configuration of a Xen PV guest, checked.
 *
 * Source: the assignments that a toolstack makes: libxenguest's struct xc_dom_image (the meanings, not the code).
 * Gotcha: a dom0 has neither xenstore nor a console page, so it takes no key for either.
 */
import { STRING_FEATURES } from '../abi/features.js'
import { Dom0TextConsole, Dom0VesaConsole, MAX_GUEST_CMDLINE } from '../abi/start-info.js'
import type { Infer, Struct } from '../abi/struct.js'
import { PAE_L3_MFN_END } from '../abi/xen-mmu.js'
import { utf8Length } from '../bytes.js'
import { makeP2m, mfnAfter, type P2m, type P2mRange, type P2mSpec } from '../guest/p2m.js'
import type { Purpose } from '../guest/purpose.js'
import { parseFeatures } from '../kernel/feature-string.js'
import type { OneOf } from '../one-of.js'
import {
  checkedInteger,
  clip,
  FRAMES_MAX,
  type Mfn,
  PAGE_SIZE,
  type Paddr,
  type Pfn,
  pfnOf,
  type Range,
  shown,
  U32_MAX,
} from '../units.js'
import { type CommonConfig, type CommonOptions, requireDom0 } from './common-config.js'
import {
  badConfig,
  checkedArray,
  checkedBoolean,
  checkedObject,
  checkedPageRange,
  checkedRanges,
  checkedText,
  type KeysOf,
  keysOf,
  optional,
  type Words,
} from './config-values.js'

/** The screen described to a dom0, one of the three; fields as in dom0_vga_console_info. */
export type Dom0Console = OneOf<{
  text_mode_3: Omit<Infer<typeof Dom0TextConsole>, 'video_type'>
  vesa_lfb: Omit<Infer<typeof Dom0VesaConsole>, 'video_type'>
  efi_lfb: Omit<Infer<typeof Dom0VesaConsole>, 'video_type'>
}>

/**
 * A Xen PV guest; each default is what an offline build assigns.
 *
 * @example
 * ```ts
 * const config: PvConfig = { type: 'pv', memory: 256 * 2 ** 20, cmdline: 'console=hvc0', purpose: 'restore' }
 * ```
 */
export type PvConfig = CommonConfig & {
  readonly type: 'pv'
  /** Features asked of the kernel: names of XENFEAT that a FEATURES string can hold, joined with "|". Default: none. */
  readonly features?: string
  /** Default identity. */
  readonly p2m?: P2mSpec
  /** Guest-physical ranges that exist, in bytes, half-open, sorted; their sum is `memory`. Default one from 0. */
  readonly vmemranges?: readonly Range<Paddr>[]
  /** SIF_* bits to add to start_info.flags. */
  readonly flags?: number
  /** Default: the frame after the guest's highest; for a p2m that is a function, the last possible frame. */
  readonly sharedInfoMfn?: Mfn
  /** All modules as one package that start_info points to (SIF_MULTIBOOT_MOD), instead of the first alone. */
  readonly multibootModules?: boolean
  /** A frame below 4 GiB for the top table of a PAE kernel that cannot take a higher one (PAE=yes in __xen_guest). */
  readonly lowMfn?: Mfn
} & (
    | {
        readonly dom0?: never
        /** Event channel of xenstore, a port of the guest; default 1. */
        readonly storeEvtchn?: number
        /** Event channel of the console, a port of the guest; default 2. */
        readonly consoleEvtchn?: number
        /** The domain that serves xenstore; default 0. */
        readonly storeDomid?: number
        /** The domain that serves the console; default 0. */
        readonly consoleDomid?: number
      }
    | {
        /** The guest is the hardware domain: no xenstore or console page; its console block follows start_info. */
        readonly dom0?: { readonly console?: Dom0Console }
        readonly purpose?: Exclude<Purpose, 'restore'>
        readonly storeEvtchn?: never
        readonly consoleEvtchn?: never
        readonly storeDomid?: never
        readonly consoleDomid?: never
      }
  )

export type PvKey = Exclude<KeysOf<PvConfig>, keyof CommonConfig | 'type'>
export const PV_KEYS = keysOf<PvKey>({
  features: true,
  p2m: true,
  vmemranges: true,
  flags: true,
  storeEvtchn: true,
  consoleEvtchn: true,
  storeDomid: true,
  consoleDomid: true,
  sharedInfoMfn: true,
  dom0: true,
  multibootModules: true,
  lowMfn: true,
})

/** The checked configuration, with defaults filled in; values that only some guests need stay undefined. */
export interface PvOptions extends CommonOptions {
  readonly type: 'pv'
  readonly purpose: Purpose
  /** Bits of XENFEAT that the kernel must support. */
  readonly features: number
  /** The frames of the guest. */
  readonly frames: readonly Range<Pfn>[]
  readonly p2m: P2m
  readonly flags: number
  readonly storeEvtchn: number
  readonly consoleEvtchn: number
  readonly storeDomid: number
  readonly consoleDomid: number
  readonly sharedInfoMfn: Mfn
  readonly dom0: { readonly console: Dom0Console | undefined } | undefined
  readonly multibootModules: boolean
  readonly lowMfn: Mfn | undefined
}

/** DOMID_FIRST_RESERVED - 1 of xen.h. */
const DOMID_MAX = 0x7fef

const NOT_OF_DOM0 = ['storeEvtchn', 'consoleEvtchn', 'storeDomid', 'consoleDomid'] as const

/** @throws DomainBuilderError `bad-config`. */
export function checkPv(common: CommonOptions, words: Words<PvKey>): PvOptions {
  const { features = '', p2m = 'identity', flags = 0, multibootModules = false } = words
  const { storeEvtchn = 1, consoleEvtchn = 2, storeDomid = 0, consoleDomid = 0 } = words
  const { purpose = 'create' } = common
  const dom0 = optional(words.dom0, checkDom0)
  if (dom0 !== undefined) {
    const other = NOT_OF_DOM0.find((key) => words[key] !== undefined)
    if (other !== undefined)
      throw badConfig(`${other} is invalid for a dom0`, 'no xenstore or console', shown(words[other]))
    requireDom0(common)
  }
  const bytes = utf8Length(common.cmdline)
  if (bytes > MAX_GUEST_CMDLINE - 1) {
    throw badConfig('the command line does not fit start_info', `at most ${MAX_GUEST_CMDLINE - 1} bytes`, `${bytes}`)
  }
  const multiboot = checkedBoolean(multibootModules, 'multibootModules')
  const named = common.modules.find(({ cmdline = '' }) => cmdline !== '')
  if (named !== undefined && !multiboot) {
    throw badConfig("a module's cmdline does not reach the guest", 'multibootModules', shown(named.cmdline))
  }
  const frames = checkFrames(common.memory, words.vmemranges)
  const { end: endPfn } = frames.at(-1) as Range<Pfn>
  const spec = checkP2m(p2m, endPfn)
  const lowMfn = optional(words.lowMfn, (mfn) => checkedInteger(mfn, 'lowMfn', 0, PAE_L3_MFN_END - 1))
  const after = mfnAfter(spec, endPfn)
  const { sharedInfoMfn = after === lowMfn ? after + 1 : after } = words
  return {
    ...common,
    type: 'pv',
    purpose,
    features: checkFeatures(features),
    frames,
    p2m: makeP2m(spec, endPfn),
    flags: checkedInteger(flags, 'flags', 0, U32_MAX),
    storeEvtchn: checkedInteger(storeEvtchn, 'storeEvtchn', 0, U32_MAX),
    consoleEvtchn: checkedInteger(consoleEvtchn, 'consoleEvtchn', 0, U32_MAX),
    storeDomid: checkedInteger(storeDomid, 'storeDomid', 0, DOMID_MAX),
    consoleDomid: checkedInteger(consoleDomid, 'consoleDomid', 0, DOMID_MAX),
    sharedInfoMfn: checkedInteger(sharedInfoMfn, 'sharedInfoMfn', 0, FRAMES_MAX - 1),
    dom0,
    multibootModules: multiboot,
    lowMfn,
  }
}

/** Returns the features as bits. A kernel's string may have names of a later Xen; in a caller's they are an error. */
function checkFeatures(features: unknown): number {
  const text = checkedText(features, 'features')
  const names = text.split('|').map((name) => name.replace(/^!/, ''))
  const unknown = names.find((name) => name !== '' && !STRING_FEATURES.some((known) => known === name))
  if (unknown === undefined) return parseFeatures(text).supported
  throw badConfig('features has an unknown name', STRING_FEATURES.join('|'), `'${clip(unknown)}'`)
}

/** Returns the guest's frames: one block, or the ranges asked for. */
function checkFrames(memory: number, vmemranges: unknown): readonly Range<Pfn>[] {
  if (vmemranges === undefined) return [{ start: 0, end: pfnOf(memory) }]
  const ranges = checkedRanges(vmemranges, 'vmemranges', checkedPageRange)
  let end = 0
  let sum = 0
  for (const range of ranges) {
    if (range.start < end) throw badConfig('vmemranges is not in order', `a start from ${end}`, `${range.start}`)
    end = range.end
    sum += range.end - range.start
  }
  if (sum !== memory) throw badConfig('vmemranges does not add up to the memory', `${memory} bytes`, `${sum}`)
  return ranges.map((range) => ({ start: range.start / PAGE_SIZE, end: range.end / PAGE_SIZE }))
}

const P2M_KINDS = ['offset', 'table', 'ranges', 'function'] as const

/** Returns a p2m of a valid shape; makeP2m checks its frames. */
function checkP2m(p2m: unknown, pages: number): P2mSpec {
  if (p2m === 'identity') return p2m
  if (typeof p2m !== 'object') {
    throw badConfig('p2m cannot be used', 'identity, offset, table, ranges or function', shown(p2m))
  }
  const given = checkedObject(p2m, 'p2m', [...P2M_KINDS, 'name'])
  const { offset, table, ranges, function: mfn, name = 'function' } = given
  requireOne(given, P2M_KINDS, 'p2m')
  if (given.name !== undefined && mfn === undefined)
    throw badConfig('p2m has a name without a function', 'a function', 'a name')
  if (offset !== undefined) return { offset: checkedInteger(offset, 'offset of p2m', 0, FRAMES_MAX - pages) }
  if (ranges !== undefined) return { ranges: checkedArray(ranges, 'ranges of p2m', pages).map(checkP2mRange) }
  if (table !== undefined) {
    if (ArrayBuffer.isView(table) && table instanceof BigUint64Array) return { table }
    throw badConfig('table of p2m cannot be used', 'a BigUint64Array', shown(table))
  }
  if (typeof mfn !== 'function') throw badConfig('function of p2m cannot be used', 'a function', shown(mfn))
  return { function: mfn as (pfn: Pfn) => Mfn | undefined, name: checkedText(name, 'name of p2m') }
}

function checkP2mRange(range: unknown): P2mRange {
  const { pfn, mfn, pages } = checkedObject(range, 'a range of p2m', ['pfn', 'mfn', 'pages'])
  const count = checkedInteger(pages, 'pages of a p2m range', 1, FRAMES_MAX)
  return {
    pfn: checkedInteger(pfn, 'pfn of a p2m range', 0, FRAMES_MAX - count),
    mfn: checkedInteger(mfn, 'mfn of a p2m range', 0, FRAMES_MAX - count),
    pages: count,
  }
}

/** Returns the one key of an object that may have only one of them. */
function requireOne<K extends string>(given: Words<K>, keys: readonly K[], what: string): K {
  const [key, ...others] = keys.filter((one) => given[one] !== undefined)
  if (key !== undefined && others.length === 0) return key
  throw badConfig(`${what} cannot be used`, `one of ${keys.join(', ')}`, key ? [key, ...others].join(' and ') : 'none')
}

function checkDom0(dom0: unknown): PvOptions['dom0'] {
  const { console } = checkedObject(dom0, 'dom0', ['console'])
  return { console: optional(console, checkConsole) }
}

function checkConsole(console: unknown): Dom0Console {
  const given = checkedObject(console, 'console of dom0', ['text_mode_3', 'vesa_lfb', 'efi_lfb'])
  const kind = requireOne(given, ['text_mode_3', 'vesa_lfb', 'efi_lfb'], 'console of dom0')
  if (kind === 'text_mode_3') return { text_mode_3: checkScreen(given[kind], kind, Dom0TextConsole) }
  const screen = checkScreen(given[kind], kind, Dom0VesaConsole)
  return kind === 'vesa_lfb' ? { vesa_lfb: screen } : { efi_lfb: screen }
}

/** Returns the fields of a screen, each a number that fits its field. */
function checkScreen<T>(screen: unknown, what: string, struct: Struct<T>): Omit<T, 'video_type'> {
  const names = struct.fieldNames.filter((name) => name !== 'video_type')
  const given = checkedObject(screen, what, names)
  for (const name of names) checkedInteger(given[name], `${name} of ${what}`, 0, 2 ** (8 * struct.sizeOf(name)) - 1)
  return given as Omit<T, 'video_type'>
}
