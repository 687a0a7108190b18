/**
 * A kernel by the name of its file.
 *
 * Source: ../snapshot/kernel-source.ts.
 * Gotcha: a kernel is read whole, unlike a snapshot, so its file is closed again.
 */
import type { Kernel, ReadKernelOptions } from '../kernel/kernel.js'
import { readKernelSource, wholeOf } from '../snapshot/kernel-source.js'
import { openInput } from './input.js'

/**
 * Reads a kernel file.
 * @throws DomainBuilderError `cannot-read`, and the errors of readKernel().
 * @example
 * ```ts
 * const kernel = await readKernelFile('/boot/vmlinuz')
 * ```
 */
export async function readKernelFile(name: string, options: ReadKernelOptions = {}): Promise<Kernel> {
  const input = openInput(name)
  try {
    return await readKernelSource(input, options)
  } finally {
    input.close()
  }
}

/** Returns all bytes of a file. @throws DomainBuilderError `cannot-read`, `not-a-kernel` for one that is too large. */
export function readWhole(name: string): Uint8Array {
  const input = openInput(name)
  try {
    return wholeOf(input)
  } finally {
    input.close()
  }
}
