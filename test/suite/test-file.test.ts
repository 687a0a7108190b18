/**
 * Test files: what they say, and every mistake with its path. The schema agrees.
 *
 * Source: schemas/tests-1.json.
 * Gotcha: the schema knows less than the reader, so some mistakes are valid by it.
 */
import t from 'tap'
import { parseTestFile } from '../../lib/suite/test-file.js'
import { ajv } from '../cli/answers.js'

const validate = ajv.getSchema('xen-domain-builder/tests/1')
const parse = (value: unknown) => parseTestFile(JSON.stringify(value), 'tests.json')

t.test('everything that a file can say', async (t) => {
  const file = {
    schema: 'xen-domain-builder/tests/1',
    $schema: 'node_modules/xen-domain-builder/schemas/tests-1.json',
    tests: [
      {
        name: 'boots',
        kernel: 'kernel.elf',
        config: 'guest.cfg',
        symbols: 'System.map',
        options: { type: 'pvh', memory: 64, ramdisk: ['a', 'b'], dom0: true },
        expect: 'guest.json',
        memory: [
          { at: '0x100000', text: 'hello' },
          { at: 'main', virtual: true, hex: '0x48 8b??05' },
        ],
        run: {
          expectConsole: ['first', { pattern: 'RAM: \\d+ MiB' }],
          ends: ' exit  0x10 ',
          timeout: 30,
          how: 'rom',
          machine: 'pc',
          at: [{ symbol: 'kmain', expect: { type: 'pvh' }, memory: [{ at: 'rsi', text: 'x' }] }, { end: true }],
        },
        variants: { except: { 'no-rsdp': 'it needs ACPI' } },
      },
      { config: 'guest.cfg', run: {}, variants: ['no-rsdp'] },
      { kernel: 'k', run: {}, variants: false, expect: {} },
      { kernel: 'k2', run: {}, variants: true },
    ],
  }
  t.ok(validate?.(file), ajv.errorsText(validate?.errors))
  const [first, second, third, fourth] = parse(file)
  t.match(first, {
    name: 'boots',
    kernel: 'kernel.elf',
    symbols: 'System.map',
    options: { type: 'pvh', memory: '64', ramdisk: ['a', 'b'], dom0: true },
    expect: { file: 'guest.json' },
    memory: [
      { at: '0x100000', virtual: false, bytes: { shown: ['68', '65', '6c', '6c', '6f'] } },
      { at: 'main', virtual: true, bytes: { shown: ['48', '8b', '??', '05'] } },
    ],
    run: {
      console: [{ shown: 'first' }, { shown: '/RAM: \\d+ MiB/' }],
      ends: 'exit 16',
      timeout: 30,
      machine: { how: 'rom', machine: 'pc' },
      moments: [{ symbol: 'kmain', expect: { inline: { type: 'pvh' } } }, { memory: [] }],
    },
    variants: { except: { 'no-rsdp': 'it needs ACPI' } },
  })
  t.same(second, {
    config: 'guest.cfg',
    options: {},
    memory: [],
    run: { console: [], moments: [], machine: {} },
    variants: { only: ['no-rsdp'] },
  })
  t.equal(third?.variants, undefined)
  t.same(fourth?.variants, { except: {} })
})

/** A test, or its JSON, and the message after the name of the file; whether the schema refuses it as well. */
const MISTAKES: readonly (readonly [test: unknown, message: string, byReaderAlone?: true])[] = [
  [{}, '.tests[0].kernel cannot be used: expected the file of a kernel, or config, found nothing'],
  [{ kernel: 1 }, '.tests[0].kernel cannot be used: expected text, found 1'],
  [{ kernel: null }, '.tests[0].kernel cannot be used: expected a value, or no such member, found null'],
  [
    { kernel: 'k', expct: {} },
    '.tests[0] has an unknown member: expected name, kernel, config, symbols, options, expect, memory, run, variants, found "expct"; did you mean expect?',
  ],
  [
    { kernel: 'k', expect: 1 },
    '.tests[0].expect is not a part of a guest\'s JSON: expected an object such as { "type": "pvh" }, found 1',
  ],
  [{ kernel: 'k', options: [] }, '.tests[0].options cannot be used: expected an object, found a list of 0'],
  [
    { kernel: 'k', options: { memory: {} } },
    '.tests[0].options.memory cannot be used: expected text, a number, true, or a list of texts, found an object',
  ],
  [
    { kernel: 'k', memory: [{ at: 'a' }] },
    '.tests[0].memory[0] cannot be used: expected either text or hex, found an object',
  ],
  [{ kernel: 'k', memory: [{ text: 'a' }] }, '.tests[0].memory[0].at cannot be used: expected text, found nothing'],
  [
    { kernel: 'k', memory: [{ at: 'a', hex: '4z' }] },
    ".tests[0].memory[0].hex: the hex pattern is invalid: expected two digits for each byte, or ??, such as 48 8b ?? 05, found '4z'",
  ],
  [
    { kernel: 'k', memory: [{ at: 'a', hex: '4 8' }] },
    ".tests[0].memory[0].hex: the hex pattern is invalid: expected two digits for each byte, or ??, such as 48 8b ?? 05, found '4'",
  ],
  [
    { kernel: 'k', run: { timeout: 0 } },
    '.tests[0].run.timeout cannot be used: expected an integer from 1 to 86400, found 0',
  ],
  [{ kernel: 'k', run: { how: 'net' } }, '.tests[0].run.how cannot be used: expected stream or rom, found "net"'],
  [
    { kernel: 'k', run: { at: [{}] } },
    '.tests[0].run.at[0] cannot be used: expected either symbol, or end: true, found an object',
  ],
  [
    { kernel: 'k', run: { at: [{ end: false }] } },
    '.tests[0].run.at[0].end cannot be used: expected true, found false',
  ],
  [
    { kernel: 'k', run: { ends: 'reste' } },
    ".tests[0].run.ends: the end of the run is invalid: expected exit N, hypercall NAME, exception N, reset, timeout, poweroff, reboot, suspend, crash, watchdog, soft_reset, found 'reste'; did you mean reset?",
    true,
  ],
  [{ kernel: 'k', run: { ends: 'exit 256' } }, '.tests[0].run.ends: the end of the run is invalid', true],
  [
    { kernel: 'k', run: { expectConsole: [{ pattern: '(a+' }] } },
    '.tests[0].run.expectConsole[0].pattern: the regular expression has a ( without a )',
    true,
  ],
  [{ kernel: 'k', run: { expectConsole: [''] } }, '.tests[0].run.expectConsole[0]: '],
  [
    { kernel: 'k', variants: true },
    '.tests[0].run cannot be used: expected {}, or what is expected of the run: each variant is a run, found nothing',
  ],
  [{ kernel: 'k', run: {}, variants: 'all' }, '.tests[0].variants cannot be used: expected an object, found "all"'],
  [
    { kernel: 'k', run: {}, variants: { except: { x: 1 } } },
    '.tests[0].variants.except.x cannot be used: expected text, found 1',
  ],
]

t.test('each mistake is refused with its path', async (t) => {
  for (const [test, message, byReaderAlone = false] of MISTAKES) {
    const file = { tests: [test] }
    t.throws(() => parse(file), { name: 'DomainBuilderError', code: 'bad-config' }, message)
    try {
      parse(file)
    } catch (error) {
      t.equal((error as Error).message.slice(0, `tests.json${message}`.length), `tests.json${message}`)
    }
    t.equal(validate?.(file), byReaderAlone, `the schema: ${JSON.stringify(test)}`)
  }
  t.throws(() => parseTestFile('{', 'tests.json'), { code: 'bad-config', message: 'tests.json is not JSON' })
  t.throws(() => parse({ tests: [] }), { message: /^tests\.json\.tests cannot be used: expected at least one test/ })
  t.throws(() => parse({ tests: [], schema: 'x' }), {
    message: /schema cannot be used: expected xen-domain-builder\/tests\/1/,
  })
})
