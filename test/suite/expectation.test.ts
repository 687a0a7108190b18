/**
 * Expectations: differences by path, what --update keeps, the golden text, and the schema.
 *
 * Source: schemas/expectation-1.json; lib/testing/expectation.ts.
 * Gotcha: the schema is derived from guest-1.json here, so that the two have the same members.
 */
import t from 'tap'
import { buildDomain, type DomainConfig, describeDomain, readKernel } from '../../lib/index.js'
import type { Json } from '../../lib/inspect/json.js'
import {
  checkExpectation,
  differencesOf,
  differenceText,
  expectationOf,
  expectationText,
  namedParts,
} from '../../lib/testing/expectation.js'
import { assertGuest, goldenText } from '../../lib/testing/index.js'
import { ajv, SCHEMA_FILES } from '../cli/answers.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20
const FOUND: Json = { a: 1, hex: '0x10', list: [{ b: 'x', c: '0x0' }, { b: 'y' }], text: 'quiet' }

const texts = (expected: Json): string[] => differencesOf(FOUND, expected).map(differenceText)

t.test('only named members are compared, and lists by element', async (t) => {
  t.same(texts({}), [])
  t.same(texts({ a: 1, list: [{ c: '0x0' }, {}] }), [])
  t.same(texts({ hex: '0x0010' }), [], 'a hex string is a number')
  t.same(texts({ hex: '0x11', a: 2 }), ['hex: expected "0x11", found "0x10"', 'a: expected 2, found 1'])
  t.same(texts({ list: [{ b: 'z' }, {}] }), ['list[0].b: expected "z", found "x"'])
  t.same(texts({ list: [{ b: 'x' }] }), ['list.length: expected 1, found 2'])
  t.same(texts({ list: [{}, {}, { b: 'z' }] }), ['list.length: expected 3, found 2'])
  t.same(texts({ a: '1' }), ['a: expected "1", found 1'], 'a text is no number')
  t.same(texts({ a: {} }), ['a: expected {}, found 1'])
  t.same(texts({ text: 'QUIET' }), ['text: expected "QUIET", found "quiet"'])
})

t.test('a member that is absent, by mistake and on purpose', async (t) => {
  t.same(texts({ hexx: '0x10' }), ['hexx: expected "0x10", found nothing; did you mean hex?'])
  t.same(texts({ list: [{ zzz: 1 }, {}] }), ['list[0].zzz: expected 1, found nothing'])
  t.same(texts({ missing: null }), [])
  t.same(texts({ text: null }), ['text: expected nothing, found "quiet"'])
  t.same(texts({ constructor: null, toString: null }), [], 'nothing is inherited')
})

t.test('an update keeps the shape of an expectation', async (t) => {
  t.same(namedParts(FOUND, { a: 7, list: [{ c: '0x9' }] }), { a: 1, list: [{ c: '0x0' }, { b: 'y' }] })
  t.same(namedParts(FOUND, { hex: '0x0010' }), { hex: '0x0010' }, 'the own spelling of a value that is right')
  t.same(namedParts(FOUND, { gone: 1, absent: null, a: 1 }), { absent: null, a: 1 })
  for (const expected of [{ a: 7, text: null, list: [{ c: '0x9' }, {}, {}] }, { hex: null }, {}]) {
    t.same(differencesOf(FOUND, namedParts(FOUND, expected)), [], 'and the result is what is found')
  }
})

/** A guest of each kind. */
const GUESTS: readonly (readonly [file: Uint8Array, config: DomainConfig])[] = [
  [pvKernelFile(), { type: 'pv', memory: 32 * MiB, cmdline: 'quiet', vcpus: 2 }],
  [pvKernelFile({ class: 32 }), { type: 'pv', memory: 32 * MiB }],
  [pvhKernelFile(), { type: 'pvh', memory: 32 * MiB, platform: 'pc', ramdisk: new Uint8Array(9).fill(1) }],
  [linuxKernelFile(), { type: 'linux', memory: 64 * MiB, cmdline: '\u001b[1m\u202e"' }],
]

t.test('the golden text of each kind of guest is an expectation of it, and valid', async (t) => {
  const validate = ajv.getSchema('xen-domain-builder/expectation/1')
  for (const [file, config] of GUESTS) {
    const guest = buildDomain(await readKernel(file), config)
    const text = goldenText(guest)
    const parsed: unknown = JSON.parse(text)
    t.ok(validate?.(parsed), ajv.errorsText(validate?.errors))
    assertGuest(guest, parsed as Record<string, Json>)
    t.equal(expectationText(checkExpectation(parsed, 'it')), text, 'it is read and written again')
    const { kernel, ...rest } = expectationOf(guest)
    t.same(Object.keys(kernel as object), ['container'], 'no sha-256, which every build changes')
    const { kernel: whole, ...described } = describeDomain(guest)
    t.same(rest, described, 'all else is there')
    t.ok(
      text.split('\n').every((line) => line.length <= 100 && /^[\x20-\x7e]*$/.test(line)),
      'lines of plain text',
    )
    t.notMatch(text, (whole as { sha256: string }).sha256)
  }
})

t.test('the text has one value a line, and small objects on one', async (t) => {
  const list = [{ addr: '0x0', type: '0x1' }]
  const long = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`register${i}`, '0x0000']))
  t.equal(
    expectationText({ type: 'pvh', empty: [], none: {}, numbers: [1, 2], deep: { list }, long }),
    [
      '{',
      '  "schema": "xen-domain-builder/expectation/1",',
      '  "type": "pvh",',
      '  "empty": [],',
      '  "none": {},',
      '  "numbers": [1, 2],',
      '  "deep": {',
      '    "list": [',
      '      { "addr": "0x0", "type": "0x1" }',
      '    ]',
      '  },',
      '  "long": {',
      ...Object.keys(long).map((name, i) => `    "${name}": "0x0000"${i < 11 ? ',' : ''}`),
      '  }',
      '}',
      '',
    ].join('\n'),
  )
})

t.test('what is no expectation is refused in words', async (t) => {
  for (const value of [null, 1, 'x', []]) {
    t.throws(() => checkExpectation(value, 'guest.json'), { code: 'bad-config', message: /^guest\.json is not a part/ })
  }
  t.throws(() => checkExpectation({ schema: 'xen-domain-builder/kernel/1' }, 'x'), {
    code: 'bad-config',
    message: "x has another schema: expected xen-domain-builder/expectation/1, found 'xen-domain-builder/kernel/1'",
  })
  t.same(checkExpectation({ schema: 'xen-domain-builder/guest/1', $schema: 'x', a: 1 }, 'x'), { a: 1 })
})

/** Returns a part of the schema of a guest in which every member may be absent or null. */
function partial(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(partial)
  if (typeof node !== 'object' || node === null) return node
  const nullable = (value: unknown) => ({ anyOf: [partial(value), { type: 'null' }] })
  const entries = Object.entries(node).flatMap(([key, value]): [string, unknown][] => {
    if (key === 'required' || key === 'minItems') return []
    if (key === 'properties') {
      const members = Object.entries(value as object).map(([name, one]) => [name, nullable(one)])
      return [[key, Object.fromEntries(members)]]
    }
    return [[key, key === 'additionalProperties' && typeof value === 'object' ? nullable(value) : partial(value)]]
  })
  return Object.fromEntries(entries)
}

t.test('its schema is that of a guest, in which nothing is required', async (t) => {
  const [guest, expectation] = ['guest-1.json', 'expectation-1.json'].map(
    (name) => JSON.parse(SCHEMA_FILES[name] ?? '') as { $defs: Record<string, object> },
  )
  const description = 'Any part of a guest.'
  t.same(expectation?.$defs.guest, { ...(partial(guest?.$defs.guest) as object), description })
  const validate = ajv.getSchema('xen-domain-builder/expectation/1')
  t.equal(validate?.({ vcpus: [{ registers: { rip: '0x1' } }], acpi: null }), true)
  t.equal(validate?.({ vcpus: [{ registers: { ripp: '0x1' } }] }), false)
})
