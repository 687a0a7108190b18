/**
 * Whether a kernel can boot as pv, pvh or linux: its entry and its needs, or the one cause why not.
 *
 * Source: pv-kernel.ts, pvh-kernel.ts, linux-kernel.ts: a verdict is the first answer of that type's builder.
 * Gotcha: a verdict covers only the kernel. A guest may still be too small, or request features that the kernel lacks.
 */
import { ENTRY_64_OFFSET } from '../abi/boot-params.js'
import { featureNames } from '../abi/features.js'
import { DomainBuilderError, type ErrorCode } from '../errors.js'
import { hex, PAGE_SIZE, showRange, showSize } from '../units.js'
import { showProtocol } from './bzimage.js'
import type { Kernel } from './kernel.js'
import { type LinuxImage, linuxKernel, type Vmlinux } from './linux-kernel.js'
import { pvKernel } from './pv-kernel.js'
import { pvhKernel } from './pvh-kernel.js'

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

/** A verdict for each type, in the order of VERDICT_TYPES. */
export function bootVerdicts(kernel: Kernel): readonly Verdict[] {
  const judge = { pv: pvVerdict, pvh: pvhVerdict, linux: linuxVerdict }
  return VERDICT_TYPES.map((type): Verdict => {
    try {
      return { type, ok: true, ...judge[type](kernel) }
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      return { type, ok: false, code: error.code, reason: error.message }
    }
  })
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
  return { entry, needs }
}

function pvhVerdict(kernel: Kernel): Bootable {
  const { image, entry, reloc, symtab } = pvhKernel(kernel)
  const needs = [`the image at ${showRange(image)}`]
  if (reloc !== undefined) needs.push(`or moved within ${showRange(reloc.within)}, aligned to ${hex(reloc.align)}`)
  if (symtab !== undefined) needs.push('its symbol table after the image')
  return { entry, needs }
}

function linuxVerdict(kernel: Kernel): Bootable {
  const { image, vmlinux } = linuxKernel(kernel)
  if (image !== undefined) return imageNeeds(image)
  // linuxKernel has one of the two.
  return vmlinuxNeeds(vmlinux as Vmlinux)
}

function imageNeeds(image: LinuxImage): Bootable {
  const { bzImage, entries, address, runsAt, reloc, initSize } = image
  const needs = [
    `boot protocol ${showProtocol(bzImage.protocol)}, claims the ${entries.map((mode) => `${mode}-bit`).join(', ')} entry`,
    reloc === undefined ? fixedNeeds(image) : `an address that is a multiple of ${hex(reloc.align)}`,
  ]
  if (initSize !== undefined) needs.push(`${showSize(initSize)} at ${hex(runsAt)}`)
  const [best] = entries
  if (best === 16) return { needs }
  return { entry: best === 64 ? address + ENTRY_64_OFFSET : address, needs }
}

/** The need of a fixed image. A hook is entered through code32_start; without that, a hook cannot move the kernel. */
function fixedNeeds({ bzImage, address }: LinuxImage): string {
  const hooked = bzImage.header.code32_start === 0 ? 'with nothing else there' : 'or to be moved there by a hook'
  return `to be loaded at ${hex(address)}, ${hooked}`
}

function vmlinuxNeeds({ entry, entryMode, image, anywhere, saysLinux }: Vmlinux): Bootable {
  const needs = [`the ${entryMode}-bit entry`, anywhere ? 'any address' : `the image at ${showRange(image)}`]
  if (!saysLinux) needs.push('to be Linux: the file has no sign of it')
  return { entry, needs }
}
