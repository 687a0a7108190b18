/**
 * diffKernels: the differences between two kernel files: container, headers, notes, setup header, and the segments'
 * bytes.
 *
 * Source: describe.ts, which defines the names; our own design.
 * Gotcha: notes are matched by owner and type, not by their place in the file; segments by their order.
 */
import { equal, toHex } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Kernel } from '../kernel/kernel.js'
import { printable } from '../printable.js'
import { hex } from '../units.js'
import { describeKernel, describeNote } from './describe.js'
import type { Difference } from './diff.js'
import type { Json } from './json.js'

/** Collects values by their full names: `elf.segments[0].vaddr`. */
function flatten(value: Json, name: string, into: Map<string, string>): void {
  if (typeof value !== 'object' || value === null) into.set(name, String(value))
  else if (Array.isArray(value)) {
    if (value.every((one) => typeof one !== 'object')) into.set(name, value.join(' '))
    else for (const [i, one] of value.entries()) flatten(one, `${name}[${i}]`, into)
  } else for (const [key, one] of Object.entries(value)) flatten(one, name === '' ? key : `${name}.${key}`, into)
}

/** Returns the values of a kernel by name; notes by owner and type, numbered where several share both. */
function facts(kernel: Kernel): Map<string, string> {
  const { notes: _notes, ...rest } = describeKernel(kernel)
  const all = new Map<string, string>()
  flatten(rest, '', all)
  const seen = new Map<string, number>()
  for (const note of kernel.notes) {
    const { owner, type, value } = describeNote(note)
    const name = `note ${owner} ${type}`
    const count = (seen.get(name) ?? 0) + 1
    seen.set(name, count)
    all.set(count === 1 ? name : `${name} (${count})`, value)
  }
  return all
}

/** Returns the differences in the order of `inspect`; no differences between equal files. */
export function diffKernels(a: Kernel, b: Kernel): readonly Difference[] {
  const [x, y] = [facts(a), facts(b)]
  const out: Difference[] = []
  for (const name of new Set([...x.keys(), ...y.keys()])) {
    const [first, second] = [x.get(name) ?? 'none', y.get(name) ?? 'none']
    if (first !== second) out.push({ what: printable(name), a: printable(first), b: printable(second) })
  }
  return [...out, ...segmentDifferences(a, b)]
}

/** The most often that a byte of either file is compared, on average: segments may overlap. */
const COMPARED_MOST = 8

/**
 * Yields segments with the same index whose bytes differ, up to the shorter length.
 * @throws DomainBuilderError `bad-elf` for segments that overlap too often.
 */
function* segmentDifferences({ elf: a }: Kernel, { elf: b }: Kernel): Iterable<Difference> {
  if (a === undefined || b === undefined) return
  let left = COMPARED_MOST * Math.max(a.bytes.length, b.bytes.length)
  for (let i = 0; i < Math.min(a.segments.length, b.segments.length); i++) {
    const bytesOf = ({ bytes, segments }: typeof a): Uint8Array => {
      const { offset = 0, filesz = 0 } = segments[i] ?? {}
      return bytes.subarray(offset, offset + filesz)
    }
    const [x, y] = [bytesOf(a), bytesOf(b)]
    const length = Math.min(x.length, y.length)
    left -= length
    if (left < 0) {
      throw new DomainBuilderError('bad-elf', 'the segments overlap too much to be compared', {
        expected: `at most ${COMPARED_MOST} segments for each byte`,
      })
    }
    if (equal(x.subarray(0, length), y.subarray(0, length))) continue
    let first = 0
    while (x[first] === y[first]) first++
    const show = (bytes: Uint8Array): string => toHex(bytes.subarray(first, first + 8))
    yield { what: `elf.segments[${i}] from byte ${hex(first)} on`, a: show(x), b: show(y) }
  }
}
