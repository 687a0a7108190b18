/**
 * A kernel in a source of bytes, unlike a snapshot read whole.
 *
 * Source: ../kernel/kernel.ts.
 * Gotcha: a file may be much larger than memory. Only one that begins as a kernel is read to its end.
 */
import { DomainBuilderError } from '../errors.js'
import { isKernelStart, type Kernel, type ReadKernelOptions, readKernel } from '../kernel/kernel.js'
import type { ByteSource } from './byte-source.js'
import { startOf } from './format.js'

/** The most bytes of a file that is read whole: no kernel, ramdisk or table is larger. */
const WHOLE_MOST = 2 ** 31 - 1

/** The bytes that show whether a file is a kernel. */
const START = 1 << 20

/** Returns the kernel in a source. Only a file that begins as a kernel is read whole. */
export async function readKernelSource(source: ByteSource, options: ReadKernelOptions = {}): Promise<Kernel> {
  const start = startOf(source, START)
  return readKernel(isKernelStart(start) ? wholeOf(source) : start, options)
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
