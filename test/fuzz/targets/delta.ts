/**
 * Deltas of one base: applied, read and described; those that differ from no sound one in their hash alone as well.
 *
 * Source: lib/snapshot/delta.ts.
 * Gotcha: the file's own hash refuses every mutation, so it is made again for each input.
 */
import { DeltaHeader } from '../../../lib/abi/delta.js'
import { concat } from '../../../lib/bytes.js'
import { applyDeltas, buildDomain, bytesSource, type Domain, readKernel, writeDelta } from '../../../lib/index.js'
import { sha256 } from '../../../lib/sha256.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../../fixtures/kernels.js'
import { bytesOf } from '../../fixtures/snapshots.js'
import type { Target } from '../target.js'
import { useGuest } from './use-guest.js'

const MiB = 2 ** 20

const guest = async (type: 'pv' | 'pvh', cmdline: string, ramdisk: Uint8Array): Promise<Domain> =>
  buildDomain(await readKernel(type === 'pv' ? pvKernelFile({ paddr: 0x1000, pages: 1 }) : pvhKernelFile()), {
    type,
    memory: 24 * MiB,
    purpose: 'restore',
    cmdline,
    ramdisk,
  })

let base: Promise<Domain> | undefined
const theBase = (): Promise<Domain> => (base ??= guest('pv', 'base', pattern(9000)))

/** Returns the bytes with a hash that agrees with them. */
function sealed(given: Uint8Array): Uint8Array {
  const bytes = given.slice()
  const at = DeltaHeader.offsetOf('sha256')
  if (bytes.length >= DeltaHeader.size) bytes.set(sha256(bytes.subarray(0, at), bytes.subarray(DeltaHeader.size)), at)
  return bytes
}

export const deltaTarget = (): Target => ({
  name: 'delta',
  executions: 2000,
  maxBytes: MiB,
  tokens: [
    'xdbdelta',
    Uint8Array.of(0x1f, 0x8b, 8, 0),
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0),
    new Uint8Array(8).fill(255),
  ],
  async seeds() {
    const [pv, pvh] = [
      await guest('pv', 'other', concat([pattern(5000), pattern(9000)])),
      await guest('pvh', '', pattern(99)),
    ]
    const deltas = [await writeDelta(await theBase(), pv), await writeDelta(await theBase(), pvh)]
    return deltas.map(({ file }) => bytesOf(file))
  },
  async run(bytes) {
    useGuest(await applyDeltas(await theBase(), [bytesSource(sealed(bytes))]), bytes)
  },
})
