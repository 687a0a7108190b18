/**
 * What a caller asks for, in xl.cfg's words, checked before anything is built.
 *
 * Source: xl.cfg(5); the assignments a toolstack makes, libxenguest's struct xc_dom_image (the meanings, not the code).
 * Gotcha: memory is bytes here; only the command line reads a bare number as MiB.
 */
import type { Dom0TextConsole, Dom0VesaConsole } from '../abi/start-info.js'
import type { Infer } from '../abi/struct.js'
import { DomainBuilderError } from '../errors.js'
import { GuestMemory } from '../guest/memory.js'
import type { P2mSpec } from '../guest/p2m.js'
import {
  checkedInteger,
  checkedList,
  hex,
  type Mfn,
  PADDR_MAX,
  PAGE_SIZE,
  type Paddr,
  type Pfn,
  type Range,
} from '../units.js'
import type { LinuxConfig } from './linux-config.js'
import type { Module } from './modules.js'
import type { PvhConfig } from './pvh-config.js'

/** What every boot convention takes. */
export interface CommonConfig {
  /** Bytes, a multiple of 4096. */
  readonly memory: number
  /** 1 to 128; all but the first wait for the guest to start them. Default 1. */
  readonly vcpus?: number
  /** UTF-8 without NUL. Default empty. */
  readonly cmdline?: string
  /** One ramdisk, or several modules, with their command lines where they have any. The bytes are not copied. */
  readonly ramdisk?: Uint8Array | readonly (Uint8Array | Module)[]
  /** Bytes the guest may grow to, at least `memory`, which it starts with. Default `memory`. */
  readonly maxmem?: number
  /** Default "guest". */
  readonly name?: string
}

/** The screen a dom0 is told of, fields as in dom0_vga_console_info. */
export type Dom0Console =
  | { readonly text_mode_3: Omit<Infer<typeof Dom0TextConsole>, 'video_type'> }
  | { readonly vesa_lfb: Omit<Infer<typeof Dom0VesaConsole>, 'video_type'> }
  | { readonly efi_lfb: Omit<Infer<typeof Dom0VesaConsole>, 'video_type'> }

/** What a Xen PV guest is given besides; each default is what an offline build assigns. */
export interface PvConfig extends CommonConfig {
  /** Features asked of the kernel: names of XENFEAT that a FEATURES string can hold, joined with "|". Default: none. */
  readonly features?: string
  /** Default identity. */
  readonly p2m?: P2mSpec
  /** Guest-physical ranges that exist, in bytes, half-open, sorted; their sum is `memory`. Default one from 0. */
  readonly vmemranges?: readonly Range<Paddr>[]
  /** SIF_* bits to add to start_info.flags. */
  readonly flags?: number
  /** Event channels: xenstore 1, console 2. */
  readonly storeEvtchn?: number
  /** The guest's end of the console's event channel, a port; default 2. */
  readonly consoleEvtchn?: number
  /** Domains that serve xenstore and the console: 0. */
  readonly storeDomid?: number
  /** The domain that serves the console; default 0. */
  readonly consoleDomid?: number
  /** Default: the frame after the last guest page. */
  readonly sharedInfoMfn?: Mfn
  /** The guest is the hardware domain: no xenstore or console page, a console block behind start_info (default: none). */
  readonly dom0?: { readonly console?: Dom0Console }
  /** All modules as one package that start_info points to (SIF_MULTIBOOT_MOD), instead of the first alone. */
  readonly multibootModules?: boolean
  /** Fill the page that a HYPERCALL_PAGE note names, as the hypervisor would. Default: left as the file has it. */
  readonly fillHypercallPage?: boolean
  /**
   * Map the ramdisk even if the kernel says that it need not be (MOD_START_PFN). A save file needs that: restoring clears
   * start_info.flags, which would say that mod_start is a frame. Default: as the kernel says.
   */
  readonly mapRamdisk?: boolean
  /** A frame below 4 GiB for the top table of a PAE kernel that cannot take a higher one (PAE=yes in __xen_guest). */
  readonly lowMfn?: Mfn
}

/** Every word that any convention knows; each takes those that concern it. */
export interface DomainConfig extends PvConfig, LinuxConfig, PvhConfig {
  /** Default auto: the kernel's best. */
  readonly type?: 'pv' | 'pvh' | 'linux' | 'auto'
}

/** XEN_MAX_VCPUS of a guest that xl can describe without further options. */
const MAX_VCPUS = 128

/** The common part with its defaults filled. @throws DomainBuilderError `bad-config`. */
export function checkCommon(config: CommonConfig): {
  memory: number
  vcpus: number
  cmdline: string
  modules: readonly Module[]
  name: string
  maxmem: number
} {
  const memory = checkedInteger(config.memory, 'memory (bytes)', PAGE_SIZE, PADDR_MAX)
  if (memory % PAGE_SIZE !== 0) {
    throw new DomainBuilderError('bad-config', 'memory is not whole pages', {
      expected: `a multiple of ${PAGE_SIZE} bytes`,
      found: `${memory}`,
    })
  }
  const { ramdisk = [] } = config
  const given = ramdisk instanceof Uint8Array ? [ramdisk] : ramdisk
  if (!Array.isArray(given)) {
    throw new DomainBuilderError('bad-config', 'ramdisk cannot be used', { expected: 'bytes', found: typeof ramdisk })
  }
  return {
    memory,
    vcpus: checkedInteger(config.vcpus ?? 1, 'vcpus', 1, MAX_VCPUS),
    cmdline: checkText(config.cmdline ?? '', 'cmdline'),
    modules: given.map(checkModule),
    name: checkText(config.name ?? 'guest', 'name'),
    maxmem: checkedInteger(config.maxmem ?? memory, 'maxmem (bytes)', memory, PADDR_MAX),
  }
}

function checkModule(module: unknown): Module {
  const { bytes, cmdline = '' } = (module instanceof Uint8Array ? { bytes: module } : (module ?? {})) as Partial<Module>
  if (!(bytes instanceof Uint8Array)) {
    throw new DomainBuilderError('bad-config', 'a module cannot be used', { expected: 'bytes', found: typeof bytes })
  }
  return { bytes, cmdline: checkText(cmdline, "a module's cmdline") }
}

function checkText(text: unknown, what: string): string {
  if (typeof text !== 'string' || text.includes('\0')) {
    throw new DomainBuilderError('bad-config', `${what} cannot be used`, {
      expected: 'text without NUL',
      found: typeof text === 'string' ? 'a NUL' : typeof text,
    })
  }
  return text
}

/** The guest's frames: one block, or the ranges asked for. @throws DomainBuilderError `bad-config`. */
export function guestMemory(memory: number, ranges: readonly Range<Paddr>[] | undefined): GuestMemory {
  if (!ranges) return new GuestMemory(memory / PAGE_SIZE)
  let end = 0
  let sum = 0
  const frames: Range<Pfn>[] = []
  for (const range of checkedList(ranges, 'vmemranges')) {
    const { start } = range
    checkedInteger(start, 'start of a memory range', end, PADDR_MAX)
    end = checkedInteger(range.end, 'end of a memory range', start + PAGE_SIZE, PADDR_MAX)
    if (start % PAGE_SIZE || end % PAGE_SIZE) {
      throw new DomainBuilderError('bad-config', 'a memory range is not whole pages', {
        expected: `multiples of ${hex(PAGE_SIZE)}`,
        found: `[${hex(start)}, ${hex(end)})`,
      })
    }
    sum += end - start
    frames.push({ start: start / PAGE_SIZE, end: end / PAGE_SIZE })
  }
  if (sum !== memory) {
    throw new DomainBuilderError('bad-config', 'the memory ranges do not add up to the memory', {
      expected: `${memory} bytes`,
      found: `${sum}`,
    })
  }
  return new GuestMemory(frames)
}
