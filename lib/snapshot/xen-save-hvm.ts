/**
 * The xl format of PVH and HVM guests: HVM_PARAMS and HVM_CONTEXT, to and from a guest.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "x86 HVM Guest"; the needs of restoring, tried on Xen 4.17.
 * Gotcha: a restored guest cannot ask Xen for its memory map, so hvm_start_info must have it. A kernel that asks all
 * the same cannot start from any save file, xl's own included. Without a configuration,
 * only the devices in HVM_CONTEXT say that a guest is HVM and not PVH.
 */

import { HVM_PARAM } from '../abi/hvm-params.js'
import { HVM_SAVE_CODE } from '../abi/hvm-save.js'
import { HvmParam, HvmParams } from '../abi/save-stream.js'
import { CR0_PG, EFER_LMA } from '../abi/x86.js'
import { concat, encodeLatin1, equal, indexOf } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError, refusalOf } from '../errors.js'
import {
  type Domain,
  type HvmBoot,
  type HvmParam as Param,
  type PvhBoot,
  pageTypes,
  type SavedRecord,
  type SavedState,
} from '../guest/domain.js'
import { decodeHvmContext, encodeHvmContext, hvmRecords } from '../guest/hvm-context.js'
import { isPvhDom0, readHvmStartInfo } from '../guest/hvm-start-info.js'
import type { GuestMemory } from '../guest/memory.js'
import { identityWhere } from '../guest/pfn-view.js'
import { type Vcpu, waitingVcpu } from '../guest/vcpu.js'
import { largest } from '../lists.js'
import { logSnapshot } from '../log.js'
import { PAGE_SIZE, pfnOf } from '../units.js'
import type { ByteSource } from './byte-source.js'
import type { ReadConfig } from './domain-config.js'
import type { KeptRecord, LibxcStream } from './libxc-reader.js'
import { pagesToMemory } from './page-memory.js'
import { refuse, within } from './records.js'

/** A kernel that gets its memory map from Xen by XENMEM_memory_map, and a text that only it has. */
interface MapAsker {
  readonly who: string
  readonly text: string
  /** Pages from the kernel's start that may have the text. */
  readonly within: number
}

/** No note tells of them. */
const MAP_ASKERS: readonly MapAsker[] = [
  // grub-core/kern/i386/xen/pvh.c. Its own code lies at its start, before all modules it was made with.
  { who: "GRUB's i386-xen_pvh", text: 'Could not get memory map from Xen!', within: 256 },
  // xen/arch/x86/guest/xen/pvh-boot.c
  { who: 'Xen itself, as in xen-shim', text: 'PVH Directboot', within: 4096 },
]
const CONTEXT = 'HVM_CONTEXT'
const EMULATOR = 'EMULATOR_CONTEXT'

/** Returns whether a guest is PVH or HVM. */
export const isHvmOrPvh = (domain: Domain): domain is Domain<PvhBoot | HvmBoot> => 'hvmParams' in domain.boot

/** @throws DomainBuilderError `bad-config` for a guest that would not survive it. */
export function requireRestorable(domain: Domain<PvhBoot | HvmBoot>): void {
  const wrong = (what: string, expected: string, found: string): never => {
    throw new DomainBuilderError('bad-config', what, { expected, found })
  }
  const { boot } = domain
  if (boot.kind === 'firmware') {
    // Only this record has its interrupt controllers and timers.
    if (savedContext(domain) === undefined) wrong("the state of the guest's devices is missing", CONTEXT, 'none')
    if (!domain.saved?.records.some(({ name }) => name === EMULATOR)) {
      wrong("the state of the guest's device model is missing, which a capture does not have", EMULATOR, 'none')
    }
    return
  }
  const { hvmParams, hvmStartInfo } = boot
  if (hvmParams.some(({ index, value }) => index === HVM_PARAM.CALLBACK_IRQ && value !== 0n)) {
    wrong(
      'the guest was stopped while it ran, and restoring ends its connections to xenstore and to its devices',
      'a guest that has suspended itself, as xl save asks, or that has not run',
      'a running guest with PV drivers',
    )
  }
  const asker = mapAsker(domain)
  if (asker !== undefined) {
    wrong(
      'the kernel cannot be restored: it asks Xen for the memory map, and Xen has none for a restored guest',
      'a kernel that finds the map in hvm_start_info',
      asker.who,
    )
  }
  if (hvmParams.length === 0) {
    const found = isPvhDom0(domain) ? 'a dom0' : 'platform pc'
    wrong("Xen's special pages are missing from the guest", 'platform xen', found)
  }
  if (hvmStartInfo === undefined) return
  const { memmap, fields } = readHvmStartInfo(domain)
  if (memmap.length === 0) {
    wrong(
      'the memory map is missing from hvm_start_info, the only place where a restored guest finds it',
      'hvm_start_info version 1',
      `version ${fields.version}`,
    )
  }
}

function mapAsker({ memory, regions }: Domain): MapAsker | undefined {
  const kernel = regions.find(({ name }) => name === 'kernel')
  if (kernel === undefined) return undefined
  return MAP_ASKERS.find(({ text, within }) => {
    const own = memory.read(kernel.pfn * PAGE_SIZE, Math.min(kernel.pages, within) * PAGE_SIZE)
    return indexOf(own, encodeLatin1(text)) >= 0
  })
}

/** Returns the body of HVM_PARAMS. */
export function encodeHvmParams(params: readonly Param[]): Uint8Array {
  const entries = params.map(({ index, value }) => HvmParam.encode({ index: BigInt(index), value }))
  return concat([HvmParams.encode({ count: params.length, reserved: 0 }), ...entries])
}

/** Returns the body of HVM_CONTEXT: unchanged, where the guest has state that a Domain cannot express. */
export function hvmContextOf(domain: Domain): Uint8Array {
  return savedContext(domain) ?? encodeHvmContext(domain.vcpus)
}

const savedContext = ({ saved }: Domain): Uint8Array | undefined =>
  saved?.records.find(({ name }) => name === CONTEXT)?.body

/** The parts of an HVM or PVH guest that has stopped. */
interface HvmParts {
  readonly type: 'hvm' | 'pvh'
  readonly name: string
  /** In bytes. Default: as much as it has. */
  readonly maxmem: number | undefined
  readonly memory: GuestMemory
  /** HVM_CONTEXT. */
  readonly context: Uint8Array
  /** The number of vcpus, if known: those without a CPU record wait. */
  readonly vcpus: number | undefined
  /** In order of their indexes. */
  readonly hvmParams: readonly Param[]
  /** The state to keep as it is, except the context. */
  readonly saved: SavedState
}

/** Returns the guest of these parts. @throws DomainBuilderError `bad-snapshot` for an invalid context. */
export function hvmOrPvhGuest(parts: HvmParts): Domain<PvhBoot | HvmBoot> {
  const { type, name, memory, context, hvmParams, saved } = parts
  const found = decodeHvmContext(context)
  const first = found.get(0)
  if (first === undefined) {
    throw new DomainBuilderError('bad-snapshot', 'HVM context: vcpu 0 has no context', { expected: 'a CPU record' })
  }
  const count = largest(
    [...found.keys()].map((id) => id + 1),
    parts.vcpus ?? 1,
  )
  const vcpus = Array.from({ length: count }, (_, id) => found.get(id) ?? waitingVcpu(id))
  // A vcpu that waits for its guest to start it may still be in real mode.
  const is64 = vcpus.some(({ efer }) => efer & BigInt(EFER_LMA))
  const common = {
    abi: is64 ? 'x86_64' : 'x86_32',
    name,
    memory,
    maxmem: parts.maxmem ?? memory.pageCount * PAGE_SIZE,
    vcpus,
    regions: [],
    p2m: identityWhere(memory),
  } as const
  const whole: SavedState = { ...saved, records: [...saved.records, { name: CONTEXT, body: context }] }
  if (type === 'hvm') {
    const boot: HvmBoot = { kind: 'firmware', hvmParams }
    return { ...common, type, boot, pageType: pageTypes(boot), saved: whole }
  }
  const boot: PvhBoot = { kind: 'hvm_start_info', hvmParams }
  const guest: Domain<PvhBoot> = { ...common, type, boot, pageType: pageTypes(boot) }
  const begun = atFirstInstant(guest, first)
  // Our own writer produces the same record again, so the saved one need not be kept.
  const isOurs = begun !== undefined && equal(encodeHvmContext(vcpus), context)
  return { ...guest, ...begun, saved: isOurs ? saved : whole }
}

/** Returns the HVM or PVH guest in a stream. @throws DomainBuilderError `bad-snapshot`. */
export function openHvmOrPvh(
  source: ByteSource,
  stream: LibxcStream,
  records: readonly SavedRecord[],
  config: string | undefined,
  settings: ReadConfig | undefined,
  type: 'hvm' | 'pvh',
): Domain<PvhBoot | HvmBoot> {
  const context = contextOf(stream)
  const hvmParams = stream.records.filter(({ name }) => name === 'HVM_PARAMS').flatMap(paramsOf)
  const memory = pagesToMemory(source, stream.pages)
  const guest = within(context, () =>
    hvmOrPvhGuest({
      type,
      name: settings?.name ?? '',
      maxmem: settings?.maxmem,
      memory,
      context: context.body,
      vcpus: settings?.vcpus,
      hvmParams: hvmParams.sort((a, b) => a.index - b.index),
      saved: defined({ config, records }),
    }),
  )
  logSnapshot('xl: %s %s, %d pages, %d vcpus', guest.name, type, memory.pageCount, guest.vcpus.length)
  return guest
}

/** Returns whether a guest has the interrupt controller of a PC, which no PVH guest has. */
export function hasPic(stream: LibxcStream): boolean {
  const context = contextOf(stream)
  return within(context, () => [...hvmRecords(context.body)].some(({ typecode }) => typecode === HVM_SAVE_CODE.PIC))
}

const contextOf = (stream: LibxcStream): KeptRecord =>
  stream.records.find(({ name }) => name === CONTEXT) ?? refuse(stream.last, 'the guest has no vcpu')

/** Where %ebx leads to hvm_start_info, the guest has not run: the parts that it points to are its regions. */
function atFirstInstant(guest: Domain<PvhBoot>, first: Vcpu): Pick<Domain<PvhBoot>, 'boot' | 'regions'> | undefined {
  const { rbx } = first.registers
  const paddr = Number(BigInt.asUintN(32, rbx))
  if (first.cr0 & BigInt(CR0_PG) || rbx !== BigInt(paddr) || !guest.memory.has(pfnOf(paddr))) return undefined
  const boot: PvhBoot = { ...guest.boot, hvmStartInfo: paddr }
  try {
    const { modules } = readHvmStartInfo({ ...guest, boot })
    const regions = modules.map(({ paddr: at, size }, i) =>
      region(i === 0 ? 'ramdisk' : `module${i}`, Number(at), Number(size)),
    )
    return {
      boot,
      regions: [...regions.filter(({ pages }) => pages > 0), { name: 'start_info', pfn: pfnOf(paddr), pages: 1 }],
    }
  } catch (error) {
    // Then %ebx holds something else.
    refusalOf(error)
    return undefined
  }
}

const region = (name: string, paddr: number, bytes: number) => ({
  name,
  pfn: pfnOf(paddr),
  pages: Math.ceil(bytes / PAGE_SIZE),
  ...defined({ bytes: bytes % PAGE_SIZE === 0 ? undefined : bytes }),
})

function paramsOf(record: KeptRecord): Param[] {
  const { body } = record
  const wrongLength = (expected: string): never =>
    refuse(record, 'the body has the wrong length', { expected, found: `${body.length}` })
  if (body.length < HvmParams.size) wrongLength(`at least ${HvmParams.size} bytes`)
  const { count } = HvmParams.decode(body)
  const length = HvmParams.size + count * HvmParam.size
  if (body.length !== length) wrongLength(`${length} bytes`)
  return Array.from({ length: count }, (_, i) => {
    const { index, value } = HvmParam.decode(body, HvmParams.size + i * HvmParam.size)
    if (index >> 32n !== 0n) refuse(record, 'the parameter index is too large', { found: `${index}` })
    return { index: Number(index), value }
  })
}
