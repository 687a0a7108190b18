/**
 * Compares boot_params with those of another loader, field by field.
 *
 * Source: the fields of lib/abi/boot-params.ts, which linux-abi.test.ts compares with Linux's headers.
 * Gotcha: padding is not a field. It is compared as a whole, so that a value that we cannot name is seen too.
 */
import type { Test } from 'tap'
import { BootParams } from '../../lib/abi/boot-params.js'

/** The fields that may differ, each with its reason. The name of a struct includes its fields. */
export type NamedFields = Readonly<Record<string, string>>

/** Returns the fields by their C names, such as `hdr.version`; elements of arrays also by their index. */
function flat(value: unknown, path = ''): [string, string][] {
  if (value instanceof Uint8Array)
    return [
      [
        path,
        Buffer.from(value)
          .toString('hex')
          .replace(/(00)+$/, ''),
      ],
    ]
  // The padding of a nested struct.
  if (value === undefined) return []
  if (typeof value !== 'object' || value === null) return [[path, `0x${BigInt(value as number).toString(16)}`]]
  return Object.entries(value).flatMap(([name, inner]) => flat(inner, path === '' ? name : `${path}.${name}`))
}

/** Returns the bytes of a page that are in no field and not zero, by their offsets. */
function padding(page: Uint8Array): string[] {
  const named = BootParams.encode(BootParams.decode(page))
  return [...page].flatMap((byte, at) => (byte === named[at] ? [] : [`0x${at.toString(16)}: 0x${byte.toString(16)}`]))
}

const covers = (known: string, field: string): boolean => field === known || field.startsWith(`${known}.`)

/** Asserts that two pages differ in named fields alone. Returns the names that were needed. */
export function sameBootParams(t: Test, ours: Uint8Array, theirs: Uint8Array, named: NamedFields): Set<string> {
  const [a, b] = [new Map(flat(BootParams.decode(ours))), new Map(flat(BootParams.decode(theirs)))]
  t.ok(a.size > 300, `${a.size} fields compared`)
  const needed = new Set<string>()
  const unnamed: string[] = []
  for (const [field, value] of a) {
    if (value === b.get(field)) continue
    const difference = `${field}: ours ${value}, theirs ${b.get(field)}`
    const name = Object.keys(named).find((known) => covers(known, field))
    if (name === undefined) unnamed.push(difference)
    else needed.add(name)
    t.comment(difference)
  }
  t.same(unnamed, [], 'every difference has a name')
  t.same(padding(theirs), padding(ours), 'padding is equal')
  return needed
}

/** Asserts that each name was needed. */
export function noStaleNames(t: Test, named: NamedFields, needed: ReadonlySet<string>): void {
  t.same(
    Object.keys(named).filter((name) => !needed.has(name)),
    [],
    'every name is of a difference that there is',
  )
}
