/**
 * Guests that are described once, for xl and for our builder, and the cases made from them.
 *
 * Source: xl.cfg(5).
 * Gotcha: xl takes memory in MiB, our builder in bytes; xl takes a kernel and a ramdisk as files, our builder as bytes.
 */
import { readFileSync } from 'node:fs'
import { helloKernel } from '../../examples/hello-kernel.js'
import { START_INFO_MAGIC } from '../../lib/abi/start-info.js'
import { readKernel } from '../../lib/index.js'
import type { CheckedCase } from './check.js'
import { buildLike, differingPages, differingSharedInfo, differingVcpu, FREEZE, readFrozen } from './frozen.js'

export interface GuestSpec {
  /** Default pv. */
  readonly type?: 'pv' | 'pvh'
  /** A file's path, or its bytes. */
  readonly kernel: string | Uint8Array
  readonly memoryMiB: number
  /** Only for a guest that we build. Default the memory. */
  readonly maxmemMiB?: number
  readonly vcpus?: number
  readonly cmdline?: string
  readonly ramdisk?: string
}

/** Returns the kernel of `npm start` that expects a magic which no Xen writes. */
export function lostKernel(): Uint8Array {
  const kernel = Buffer.from(helloKernel())
  kernel.write('xen-0.0', kernel.indexOf(START_INFO_MAGIC.x86_64))
  return kernel
}

/** Returns the parts for xl: its files, and guest.cfg. */
export function forXl(spec: GuestSpec): Pick<Required<CheckedCase>, 'files' | 'config'> {
  return {
    files: { kernel: spec.kernel, ...(spec.ramdisk === undefined ? {} : { ramdisk: spec.ramdisk }) },
    config: {
      type: spec.type ?? 'pv',
      kernel: 'kernel',
      memory: spec.memoryMiB,
      vcpus: spec.vcpus ?? 1,
      // A crashed guest remains for inspection; a guest that ends normally is removed.
      on_crash: 'preserve',
      ...(spec.ramdisk === undefined ? {} : { ramdisk: 'ramdisk' }),
      ...(spec.cmdline === undefined ? {} : { cmdline: spec.cmdline }),
    },
  }
}

/** xl builds the guest and stops before its first instruction; every byte of it must be as we build it. */
export function frozenCase(name: string, spec: GuestSpec): CheckedCase {
  return {
    name,
    ...forXl(spec),
    steps: FREEZE,
    async check(t, result) {
      const kernel = await readKernel(typeof spec.kernel === 'string' ? readFileSync(spec.kernel) : spec.kernel)
      const frozen = readFrozen(result)
      const domain = buildLike(frozen, kernel, {
        type: 'pv',
        xen: result.release,
        memory: spec.memoryMiB * 2 ** 20,
        vcpus: spec.vcpus ?? 1,
        cmdline: spec.cmdline ?? '',
        ramdisk: spec.ramdisk === undefined ? [] : readFileSync(spec.ramdisk),
      })
      t.ok(frozen.pages.size > 8, `${frozen.pages.size} pages hold something`)
      t.same(differingPages(frozen, domain).slice(0, 20), [], 'every page')
      t.same(differingVcpu(frozen, domain), [], "vcpu 0's context")
      t.same(differingSharedInfo(frozen, domain), [], 'shared_info')
    },
  }
}
