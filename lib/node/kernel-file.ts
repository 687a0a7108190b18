/**
 * A kernel by the name of its file.
 *
 * Source: ../kernel/kernel.ts.
 * Gotcha: a kernel is read whole, unlike a snapshot, so its file is closed again.
 */
import { DomainBuilderError } from '../errors.js'
import { isKernelStart, type Kernel, type ReadKernelOptions, readKernel } from '../kernel/kernel.js'
import type { ByteSource } from '../snapshot/byte-source.js'
import { startOf } from '../snapshot/format.js'
import { openInput } from './input.js'

/** The most bytes of a file that is read whole: no kernel, ramdisk or table is larger. */
const WHOLE_MOST = 2 ** 31 - 1

/** The bytes that show whether a file is a kernel. */
const START = 1 << 20

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

/** Returns the kernel in a source. Only a file that begins as a kernel is read whole. */
export async function readKernelSource(source: ByteSource, options: ReadKernelOptions = {}): Promise<Kernel> {
  const start = startOf(source, START)
  return readKernel(isKernelStart(start) ? wholeOf(source) : start, options)
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

/** Returns all bytes of a source. @throws DomainBuilderError `not-a-kernel` for one that is too large. */
export function wholeOf(source: ByteSource): Uint8Array {
  if (source.size > WHOLE_MOST) {
    throw new DomainBuilderError('not-a-kernel', 'the file is too large for a kernel or a ramdisk', {
      expected: `at most ${WHOLE_MOST} bytes`,
      found: `${source.size}`,
    })
  }
  return startOf(source, source.size)
}
