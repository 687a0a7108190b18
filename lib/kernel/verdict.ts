/**
 * Whether a kernel can boot as pv, pvh or linux: its entry and its needs, or the one cause why not.
 *
 * Source: pv-kernel.ts, pvh-kernel.ts, linux-kernel.ts: a verdict is the first answer of that type's builder.
 * Gotcha: a verdict covers only the kernel. A guest may still be too small, or request features that the kernel lacks.
 * Any ELF can be entered like a vmlinux, so type linux by name accepts kernels that no caller without a type means.
 */
import { ENTRY_64_OFFSET } from '../abi/boot-params.js'
import { featureNames } from '../abi/features.js'
import { type ErrorCode, refusalOf } from '../errors.js'
import { hex, PAGE_SIZE, showRange, showSize } from '../units.js'
import { showProtocol } from './bzimage.js'
import type { Kernel } from './kernel.js'
import { type LinuxImage, type LinuxKernelOptions, linuxKernel, type Vmlinux } from './linux-kernel.js'
import { pvKernel } from './pv-kernel.js'
import { pvhKernel } from './pvh-kernel.js'
import { xenLoaderRemark } from './xen-loader.js'

/** Best first, as `auto` chooses. */
export const VERDICT_TYPES = ['pv', 'pvh', 'linux'] as const
/** A way to boot. */
export type VerdictType = (typeof VERDICT_TYPES)[number]

/** Whether a kernel can boot in one way; if not, the one cause. */
export type Verdict =
  | {
      readonly type: VerdictType
      readonly ok: true
      /** pv: a virtual address, bigint; pvh and linux: a physical one. Absent if only the setup code can be entered. */
      readonly entry?: bigint | number
      /** The guest's requirements and the file's claims, a few words each. */
      readonly needs: readonly string[]
    }
  | { readonly type: VerdictType; readonly ok: false; readonly code: ErrorCode; readonly reason: string }

/**
 * Returns a verdict for each type, best first. `auto` chooses the first that is ok. An ELF without a sign of Linux is
 * not ok as linux here: see `bootVerdict`.
 *
 * @example
 * ```ts
 * const best = bootVerdicts(await readKernel(bytes)).find(({ ok }) => ok)?.type
 * ```
 */
export function bootVerdicts(kernel: Kernel): readonly Verdict[] {
  return VERDICT_TYPES.map((type) => verdict(type, () => judge[type](kernel, { byName: false })))
}

/**
 * Returns the verdict for a type that was asked for by name. As linux, it accepts an ELF without a sign of Linux, as
 * `buildDomain` does; the needs then say that it must be Linux.
 */
export function bootVerdict(kernel: Kernel, type: VerdictType): Verdict {
  return verdict(type, () => judge[type](kernel, { byName: true }))
}

const judge = { pv: pvVerdict, pvh: pvhVerdict, linux: linuxVerdict }

function verdict(type: VerdictType, act: () => Bootable): Verdict {
  try {
    return { type, ok: true, ...act() }
  } catch (error) {
    const { code, message: reason } = refusalOf(error)
    return { type, ok: false, code, reason }
  }
}

type Bootable = Pick<Verdict & { ok: true }, 'entry' | 'needs'>

function pvVerdict(kernel: Kernel): Bootable {
  const { abi, params, virtBase, vstart, vend, entry, initP2m, symtab } = pvKernel(kernel)
  const features = featureNames(params.required)
  const needs = [
    `a ${abi === 'x86_64' ? '64-bit' : '32-bit PAE'} PV guest`,
    `${showSize(Math.ceil(Number(vend - virtBase) / PAGE_SIZE) * PAGE_SIZE)} for the image ${showRange({ start: vstart, end: vend })}`,
  ]
  if (features.length > 0) needs.push(`features ${features.join(', ')}`)
  if (initP2m !== undefined) needs.push(`its p2m at ${hex(initP2m)}`)
  if (symtab !== undefined) needs.push('its symbol table after the image')
  if (params.pae === 'yes') needs.push('its top page table below 4 GiB')
  return { entry, needs: withRemark(needs, kernel) }
}

function pvhVerdict(kernel: Kernel): Bootable {
  const { image, entry, reloc, symtab } = pvhKernel(kernel)
  const needs = [`the image at ${showRange(image)}`]
  if (reloc !== undefined) needs.push(`or moved within ${showRange(reloc.within)}, aligned to ${hex(reloc.align)}`)
  if (symtab !== undefined) needs.push('its symbol table after the image')
  return { entry, needs: withRemark(needs, kernel) }
}

/** Adds that Xen's own library cannot load the file, if so. */
function withRemark(needs: readonly string[], kernel: Kernel): readonly string[] {
  const remark = xenLoaderRemark(kernel)
  return remark === undefined ? needs : [...needs, remark]
}

function linuxVerdict(kernel: Kernel, options: LinuxKernelOptions): Bootable {
  const { image, vmlinux } = linuxKernel(kernel, options)
  if (image !== undefined) return imageNeeds(image)
  // linuxKernel has one of the two.
  return vmlinuxNeeds(vmlinux as Vmlinux)
}

function imageNeeds(image: LinuxImage): Bootable {
  const { bzImage, entries, best, address, runsAt, reloc, initSize } = image
  const needs = [
    `boot protocol ${showProtocol(bzImage.protocol)}, claims the ${entries.map((mode) => `${mode}-bit`).join(', ')} entry`,
    reloc === undefined ? fixedNeeds(image) : `an address that is a multiple of ${hex(reloc.align)}`,
  ]
  if (initSize !== undefined) needs.push(`${showSize(initSize)} at ${hex(runsAt)}`)
  if (bzImage.noCode) needs.push('its setup code: by its syssize of 0, no other entry has code')
  if (best === 16) return { needs }
  return { entry: best === 64 ? address + ENTRY_64_OFFSET : address, needs }
}

/** The need of a fixed image. A hook is entered through code32_start, so a kernel that is not cannot be moved by it. */
function fixedNeeds({ hookable, address }: LinuxImage): string {
  const hooked = hookable ? 'or to be moved there by a hook' : 'with nothing else there'
  return `to be loaded at ${hex(address)}, ${hooked}`
}

function vmlinuxNeeds({ entry, entryMode, image, anywhere, foreign }: Vmlinux): Bootable {
  const needs = [`the ${entryMode}-bit entry`, anywhere ? 'any address' : `the image at ${showRange(image)}`]
  if (foreign !== undefined) needs.push(`to be Linux: the file has ${foreign}`)
  return { entry, needs }
}
