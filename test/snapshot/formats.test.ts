/**
 * What cores keep of a guest, ours and a stranger's; damaged files of each format.
 *
 * Source: lib/snapshot.
 * Gotcha: the mutator is seeded: a failure names the case, and the case comes again.
 */
import t from 'tap'
import { requirePv } from '../../lib/guest/domain.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  openSnapshot,
  readKernel,
  readVirtual,
  sniffSnapshot,
  writeElfCore,
  writeKexec,
  writeXenCore,
  writeXl,
} from '../../lib/index.js'
import { linuxKernelFile, pattern, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, sameGuest, THROUGH } from '../fixtures/snapshots.js'

const build = async (elfClass: 32 | 64, memory = 8 * 2 ** 20): Promise<Domain> =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass })), {
    type: 'pv',
    memory,
    ramdisk: pattern(9000),
    vcpus: 3,
    mapRamdisk: true,
  })

t.test('cores keep a p2m, regions and kernel; a core of xl goes without our note', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const built = buildDomain(kernel, { type: 'pv', memory: 8 * 2 ** 20, p2m: { offset: 99 }, cmdline: 'quiet' })
  for (const format of ['xen-core', 'elf-core'] as const) {
    const read = THROUGH[format](built)
    sameGuest(t, read, built, format)
    t.same(read.regions, built.regions)
    t.same(read.boot, built.boot)
    t.same(read.kernel, built.kernel)
    t.equal(read.p2m.mfn(5), 104)
  }
  // The note's owner misspelt: a stranger's file, of which only what xl itself writes is left.
  const bytes = Buffer.from(bytesOf(writeXenCore(built)))
  bytes.write('xen-domain-stranger', bytes.indexOf('xen-domain-builder\0'), 18, 'latin1')
  const foreign = openSnapshot(bytesSource(bytes))
  t.same(foreign.vcpus, built.vcpus)
  t.equal(foreign.p2m.mfn(0x100), 0x100 + 99)
  t.same(requirePv(foreign).startInfo, requirePv(built).startInfo)
  const si = requirePv(built).startInfo.vaddr
  t.same(readVirtual(foreign, si, 14), readVirtual(built, si, 14))
})

/** xorshift32: the same cases every time. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

function mutate(bytes: Uint8Array, next: (below: number) => number, structure: number): Uint8Array {
  const out = bytes.slice()
  const view = new DataView(out.buffer)
  // Most of a file is pages, in which nothing can be wrong: nine in ten changes hit the rest.
  const place = (): number =>
    next(10) < 9 ? next(Math.min(structure, out.length)) : out.length - 1 - next(Math.min(6000, out.length))
  switch (next(6)) {
    case 0:
      return out.slice(0, next(2) ? next(out.length) : place())
    case 1:
      for (let i = 0; i < 1 + next(4); i++) {
        const at = place()
        out[at] = (out[at] ?? 0) ^ (1 << next(8))
      }
      return out
    case 2: {
      const at = place() & ~3
      if (at + 4 <= out.length)
        view.setUint32(at, [0, 1, 0xffffffff, 0x7fffffff, 8, 4096, next(2 ** 31)][next(7)] ?? 0, true)
      return out
    }
    case 3: {
      const [a, b, length] = [place() & ~7, place() & ~7, 8 * (1 + next(64))]
      const moved = out.slice(a, a + length)
      out.copyWithin(a, b, b + length)
      out.set(moved.subarray(0, Math.max(0, out.length - b)), b)
      return out
    }
    case 4: {
      const at = place() & ~7
      const length = 8 * (1 + next(600))
      return new Uint8Array(Buffer.concat([out.subarray(0, at), out.subarray(at + length)]))
    }
    default: {
      const at = place() & ~7
      return new Uint8Array(
        Buffer.concat([out.subarray(0, at), out.subarray(at, at + 8 * (1 + next(64))), out.subarray(at)]),
      )
    }
  }
}

t.test('24,000 damaged files: a DomainBuilderError with an offset, or a guest, and nothing else', async (t) => {
  const built = await build(64, 6 * 2 ** 20)
  const linux = buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 32 * 2 ** 20 })
  const files = {
    xl: bytesOf(writeXl(built)),
    'xen-core': bytesOf(writeXenCore(built)),
    'elf-core': bytesOf(writeElfCore(built)),
    kexec: bytesOf(writeKexec(linux)),
  }
  for (const [format, count] of [
    ['xl', 12000],
    ['xen-core', 4000],
    ['elf-core', 4000],
    ['kexec', 4000],
  ] as const) {
    const next = random(0x5eed + count)
    let refused = 0
    let named = 0
    const wrong: string[] = []
    for (let i = 0; i < count; i++) {
      const bytes = mutate(files[format], next, format === 'xl' ? 20000 : 9000)
      if (sniffSnapshot(bytesSource(bytes)) === undefined) {
        refused++
        named++
        continue
      }
      try {
        openSnapshot(bytesSource(bytes))
      } catch (error) {
        refused++
        if (!(error instanceof DomainBuilderError)) wrong.push(`case ${i}: ${String(error)}`)
        else if (error.offset === undefined && !/guest note/.test(error.message))
          wrong.push(`case ${i}: no offset: ${error.message}`)
        else if (/record|header|configuration|ELF|section|note|frame list|contexts/.test(error.message)) named++
        else wrong.push(`case ${i}: ${error.message}`)
      }
    }
    t.same(wrong.slice(0, 10), [], format)
    t.equal(named, refused, 'each says where')
    t.ok(refused > count / 3, `${refused} of ${count} refused, the others harmless`)
  }
})
