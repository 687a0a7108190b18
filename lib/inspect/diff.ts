/**
 * diff: what differs between two guests, by vcpu register, start_info field and page.
 *
 * Source: our own design; names are those of the ABI.
 * Gotcha: a page that is a hole in one and zero in the other is the same page. Memory is compared in pieces, holes in both
 * are passed over, so the work is that of what the guests hold.
 */
import type { Domain } from '../guest/domain.js'
import { readStartInfo } from '../guest/start-info.js'
import { hex, PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { regionAt } from './explain.js'

export interface Difference {
  /** Such as `vcpu 0 rip`, `start_info.flags`, `memory`. */
  readonly what: string
  readonly a: string
  readonly b: string
}

/** Runs of pages that differ, with the region and the first differing byte. */
export interface PageDifference {
  readonly pfn: Pfn
  readonly pages: number
  readonly region: string
  readonly firstByte: number
}

export interface DomainDiff {
  readonly fields: readonly Difference[]
  readonly pages: readonly PageDifference[]
}

const CHUNK_PAGES = 256

export function diffDomains(a: Domain, b: Domain): DomainDiff {
  return { fields: [...fieldDifferences(a, b)], pages: pageDifferences(a, b) }
}

/** The same as text. */
export function diffText(diff: DomainDiff): string[] {
  return [
    ...diff.fields.map(({ what, a, b }) => `${what}: ${a} | ${b}`),
    ...diff.pages.map(
      ({ pfn, pages, region, firstByte }) =>
        `pfn ${hex(pfn)}${pages > 1 ? ` to ${hex(pfn + pages - 1)}` : ''} (${region}): from byte ${hex(firstByte)} on`,
    ),
  ]
}

function* fieldDifferences(a: Domain, b: Domain): Iterable<Difference> {
  const differ = function* (what: string, x: unknown, y: unknown): Iterable<Difference> {
    const show = (v: unknown): string => (typeof v === 'bigint' || typeof v === 'number' ? hex(v) : String(v ?? 'none'))
    if (show(x) !== show(y)) yield { what, a: show(x), b: show(y) }
  }
  for (const field of ['type', 'abi', 'name'] as const) yield* differ(field, a[field], b[field])
  yield* differ('pages', a.memory.pageCount, b.memory.pageCount)
  yield* differ('vcpus', a.vcpus.length, b.vcpus.length)
  for (let i = 0; i < Math.min(a.vcpus.length, b.vcpus.length); i++) {
    const [x, y] = [a.vcpus[i], b.vcpus[i]]
    yield* differ(`vcpu ${i} online`, x?.online, y?.online)
    for (const name of Object.keys(x?.registers ?? {}) as (keyof NonNullable<typeof x>['registers'])[]) {
      yield* differ(`vcpu ${i} ${name}`, x?.registers[name], y?.registers[name])
    }
    for (const name of ['cr0', 'cr3', 'cr4', 'efer'] as const) yield* differ(`vcpu ${i} ${name}`, x?.[name], y?.[name])
  }
  if (hasStartInfo(a) && hasStartInfo(b)) {
    const other: Readonly<Record<string, unknown>> = { ...readStartInfo(b) }
    for (const [name, value] of Object.entries(readStartInfo(a)))
      yield* differ(`start_info.${name}`, value, other[name])
  }
}

const hasStartInfo = ({ boot }: Domain): boolean => 'startInfo' in boot && boot.startInfo !== undefined

/** Frames that something was placed in, in either guest, and that both have. */
function* touched(a: Domain, b: Domain): Iterable<{ pfn: Pfn; pages: number }> {
  const runs = [...a.memory.pages(), ...b.memory.pages()].sort((x, y) => x.pfn - y.pfn)
  let end = 0
  for (const run of runs) {
    const pfn = Math.max(run.pfn, end)
    end = Math.max(end, run.pfn + run.pages)
    for (let at = pfn; at < end; at += CHUNK_PAGES) yield { pfn: at, pages: Math.min(CHUNK_PAGES, end - at) }
  }
}

function pageDifferences(a: Domain, b: Domain): PageDifference[] {
  const out: { pfn: Pfn; pages: number; region: string; firstByte: number }[] = []
  const buffers = [new Uint8Array(CHUNK_PAGES * PAGE_SIZE), new Uint8Array(CHUNK_PAGES * PAGE_SIZE)] as const
  const load = (domain: Domain, pfn: Pfn, pages: number, buffer: Uint8Array): Uint8Array => {
    const bytes = buffer.subarray(0, pages * PAGE_SIZE).fill(0)
    for (let i = 0; i < pages; i++) {
      if (!domain.memory.has(pfn + i)) continue
      domain.memory.readInto(paddrOf(pfn + i), bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE))
    }
    return bytes
  }
  for (const { pfn, pages } of touched(a, b)) {
    const [x, y] = [load(a, pfn, pages, buffers[0]), load(b, pfn, pages, buffers[1])]
    if (Buffer.compare(x, y) === 0) continue
    for (let i = 0; i < pages; i++) {
      const page = x.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      const other = y.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      if (Buffer.compare(page, other) === 0) continue
      const region = regionAt(a, pfn + i)?.name ?? regionAt(b, pfn + i)?.name ?? 'free memory'
      const last = out.at(-1)
      if (last && last.pfn + last.pages === pfn + i && last.region === region) last.pages++
      else out.push({ pfn: pfn + i, pages: 1, region, firstByte: page.findIndex((byte, at) => byte !== other[at]) })
    }
  }
  return out
}
