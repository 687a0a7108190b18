/**
 * The state of a PVH guest at its first instruction: hvm_start_info with its lists, and the registers.
 *
 * Source: docs/misc/pvh.pandoc (the machine state); xen/include/public/arch-x86/hvm/start_info.h.
 * Gotcha: segments are flat with any selectors: no GDT is promised. A kernel that reloads a selector before it has set
 * up a GDT is broken.
 */

import {
  HVM_START_INFO_V0_SIZE,
  HvmMemmapTableEntry,
  HvmModlistEntry,
  HvmStartInfo,
  XEN_HVM_START_MAGIC_VALUE,
} from '../abi/hvm-start-info.js'
import {
  CR0_ET,
  CR0_PE,
  DR6_RESET,
  DR7_RESET,
  EFLAGS_RESERVED_1,
  FLAT_CODE32,
  FLAT_DATA,
  FLAT_LIMIT,
  TSS32_BUSY,
  TSS32_LIMIT,
} from '../abi/x86.js'
import { encodeUtf8, utf8Length } from '../bytes.js'
import { defined } from '../defined.js'
import { type Domain, type HvmParam, type PvhBoot, pageTypes } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import type { MapEntry } from '../guest/memory-map.js'
import { makeP2m } from '../guest/p2m.js'
import type { Region } from '../guest/region.js'
import { bootedBy, registers, type SegmentState, type Vcpu, waitingVcpu } from '../guest/vcpu.js'
import { type Kernel, originOf } from '../kernel/kernel.js'
import { logBoot } from '../log.js'
import { alignUp, hex, type Paddr } from '../units.js'
import type { PvhOptions } from './pvh-config.js'
import type { PvhPlatform } from './pvh-platform.js'

/** A module that was placed. */
export interface PlacedModule {
  readonly paddr: Paddr
  readonly size: number
  readonly cmdline: string
}

export interface StartInfoContent {
  readonly version: 0 | 1
  readonly cmdline: string
  readonly modules: readonly PlacedModule[]
  readonly memmap: readonly MapEntry[]
  /** 0 without ACPI tables. */
  readonly rsdp: Paddr
}

/** Lists lie at multiples of this: they hold u64. */
const LIST_ALIGN = 8

/** Returns the offsets of all parts, from hvm_start_info on; -1 for an absent part. */
function layOut({ version, cmdline, modules, memmap }: StartInfoContent) {
  let end = version === 0 ? HVM_START_INFO_V0_SIZE : HvmStartInfo.size
  const take = (bytes: number, align = 1): number => {
    if (bytes === 0) return -1
    const at = alignUp(end, align)
    end = at + bytes
    return at
  }
  // An empty text needs no address; any other includes its NUL.
  const textBytes = (text: string) => (text === '' ? 0 : utf8Length(text) + 1)
  const cmdlineAt = take(textBytes(cmdline))
  const modlistAt = take(modules.length * HvmModlistEntry.size, LIST_ALIGN)
  const moduleCmdlinesAt = modules.map((module) => take(textBytes(module.cmdline)))
  const memmapAt = version === 0 ? -1 : take(memmap.length * HvmMemmapTableEntry.size, LIST_ALIGN)
  return { cmdlineAt, modlistAt, moduleCmdlinesAt, memmapAt, end }
}

/** Returns the size in bytes of hvm_start_info and all that it points to, which no address in them changes. */
export const startInfoBytes = (content: StartInfoContent): number => layOut(content).end

/** Returns one block of hvm_start_info, its command line, modules and memory map. @param base where it will lie. */
export function hvmStartInfo(content: StartInfoContent, base: Paddr): Uint8Array {
  const { version, cmdline, modules, memmap, rsdp } = content
  const { cmdlineAt, modlistAt, moduleCmdlinesAt, memmapAt, end } = layOut(content)
  const address = (at: number): bigint => (at < 0 ? 0n : BigInt(base + at))
  const fields = {
    magic: XEN_HVM_START_MAGIC_VALUE,
    version,
    flags: 0,
    nr_modules: modules.length,
    modlist_paddr: address(modlistAt),
    cmdline_paddr: address(cmdlineAt),
    rsdp_paddr: BigInt(rsdp),
    memmap_paddr: address(memmapAt),
    memmap_entries: memmapAt < 0 ? 0 : memmap.length,
    reserved: 0,
  }
  for (const [name, value] of Object.entries(fields)) logBoot('hvm_start_info.%s = %s', name, hex(value))
  const out = new Uint8Array(end)
  const text = (at: number, value: string) => at >= 0 && out.set(encodeUtf8(value), at)
  out.set(HvmStartInfo.encode(fields).subarray(0, version === 0 ? HVM_START_INFO_V0_SIZE : HvmStartInfo.size))
  text(cmdlineAt, cmdline)
  modules.forEach((module, i) => {
    const cmdlineOf = moduleCmdlinesAt[i] as number
    const entry = {
      paddr: BigInt(module.paddr),
      size: BigInt(module.size),
      cmdline_paddr: address(cmdlineOf),
      reserved: 0n,
    }
    out.set(HvmModlistEntry.encode(entry), modlistAt + i * HvmModlistEntry.size)
    text(cmdlineOf, module.cmdline)
  })
  if (memmapAt >= 0) {
    memmap.forEach(({ start, end: stop, type }, i) => {
      const entry = { addr: BigInt(start), size: BigInt(stop - start), type, reserved: 0 }
      out.set(HvmMemmapTableEntry.encode(entry), memmapAt + i * HvmMemmapTableEntry.size)
    })
  }
  return out
}

/** Xen enters with null selectors; a VMM has a GDT, and its ROM needs to know the purpose of each entry. */
const SELECTORS = { xen: { code: 0, data: 0, task: 0 }, pc: { code: 0x10, data: 0x18, task: 0x20 } } as const

/** Returns vcpu 0 at PHYS32_ENTRY; the others wait, all zero, until the guest starts them. */
function pvhVcpus(entry: Paddr, startInfo: Paddr, count: number, platform: PvhPlatform): Vcpu[] {
  const { code, data, task } = SELECTORS[platform]
  const flat = (selector: number, attributes: number): SegmentState => ({
    selector,
    descriptor: { base: 0n, limit: FLAT_LIMIT, attributes },
  })
  const waiting = waitingVcpu(0)
  const boot: Vcpu = {
    ...waiting,
    online: true,
    registers: registers({ rip: BigInt(entry), rbx: BigInt(startInfo), rflags: BigInt(EFLAGS_RESERVED_1) }),
    segments: {
      ...waiting.segments,
      cs: flat(code, FLAT_CODE32),
      ss: flat(data, FLAT_DATA),
      ds: flat(data, FLAT_DATA),
      es: flat(data, FLAT_DATA),
    },
    tr: { selector: task, descriptor: { base: 0n, limit: TSS32_LIMIT, attributes: TSS32_BUSY } },
    // ET cannot be cleared on any processor that runs this code.
    cr0: BigInt(CR0_PE | CR0_ET),
    dr6: BigInt(DR6_RESET),
    dr7: BigInt(DR7_RESET),
  }
  logBoot('vcpu 0: entry %s, start info %s', hex(entry), hex(startInfo))
  return bootedBy(boot, count)
}

/** The places and parts that the builder of a PVH guest decides. */
interface PvhParts {
  readonly memory: GuestMemory
  readonly entry: Paddr
  readonly hvmStartInfo: Paddr
  readonly hvmParams: readonly HvmParam[]
  readonly regions: readonly Region[]
}

/** Returns the guest that libxl's builder, a VMM's or Xen itself has laid out. */
export function pvhDomain(kernel: Kernel, options: PvhOptions, parts: PvhParts): Domain<PvhBoot> {
  const { memory, entry, hvmStartInfo, hvmParams, regions } = parts
  const boot: PvhBoot = { kind: 'hvm_start_info', hvmStartInfo, hvmParams }
  return {
    type: 'pvh',
    abi: 'x86_32',
    name: options.name,
    memory,
    maxmem: options.maxmem,
    ...defined({ target: options.target }),
    p2m: makeP2m('identity', memory.endPfn),
    regions,
    vcpus: pvhVcpus(entry, hvmStartInfo, options.vcpus, options.platform),
    kernel: originOf(kernel),
    boot,
    pageType: pageTypes(boot),
  }
}
