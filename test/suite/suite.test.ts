/**
 * A suite with a machine that only pretends: what is expected of console, end and moments, and which cases are skipped.
 *
 * Source: lib/suite/suite.ts; test/qemu/suite.qemu.ts has a real machine.
 * Gotcha: the machine is asked whether the console is enough after each piece, as a real one does.
 */
import t from 'tap'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { buildDomain, type Domain, DomainBuilderError, type DomainConfig, readKernel } from '../../lib/index.js'
import type { Ending, GuestRun, Instant, Runner, RunOptions } from '../../lib/runner/guest-run.js'
import { checkEnding, endingText, endingWords } from '../../lib/suite/ending.js'
import { Goldens } from '../../lib/suite/goldens.js'
import type { CaseResult } from '../../lib/suite/result.js'
import { type GuestTest, runSuite, type SuiteOptions } from '../../lib/suite/suite.js'
import { parseTestFile } from '../../lib/suite/test-file.js'
import { readSymbols } from '../../lib/symbols/read-symbols.js'
import { differenceText } from '../../lib/testing/expectation.js'
import { buildElf, symbolSections, xenNotes } from '../../lib/testing/index.js'

const MiB = 2 ** 20
const KMAIN = 0x100010
const kernel = await readKernel(
  buildElf({
    class: 32,
    entry: 0x100000,
    segments: [{ paddr: 0x100000, data: new TextEncoder().encode('0123456789abcdefHELLO'), memsz: 4096 }],
    notes: xenNotes({ PHYS32_ENTRY: 0x100000 }),
    sections: symbolSections(32, [{ name: 'kmain', value: KMAIN }]),
  }),
)
const symbols = await readSymbols(kernel)
const config: DomainConfig = { type: 'pvh', memory: 64 * MiB, purpose: 'vmm' }

/** The pretence of a machine: its guest prints the pieces and ends. */
interface Script {
  readonly pieces?: readonly string[]
  readonly ending?: Ending
  /** Addresses at which the guest arrives, after the pieces. */
  readonly arrives?: readonly bigint[]
  readonly refusal?: string
  readonly purpose?: Runner['purpose']
}

/** A machine that does as a script says, and keeps what it was asked. */
class Pretended implements Runner {
  readonly asked: { readonly domain: Domain; readonly options: RunOptions }[] = []
  readonly purpose: Runner['purpose']
  closed = 0
  readonly #script: Script

  constructor(script: Script) {
    this.#script = script
    this.purpose = script.purpose ?? 'vmm'
  }

  refusal(): string | undefined {
    return this.#script.refusal
  }

  async run(domain: Domain, options: RunOptions): Promise<GuestRun> {
    this.asked.push({ domain, options })
    const { pieces = [], ending = { kind: 'timeout' }, arrives = [] } = this.#script
    const instants: Instant[] = []
    let console = ''
    const done = (how: Ending): GuestRun => ({
      console,
      ending: how,
      instants: [...instants, { at: 'end', guest: domain }],
      close: () => {
        this.closed++
      },
    })
    for (const piece of pieces) {
      console += piece
      if (options.isEnough?.(console, instants)) return done({ kind: 'enough' })
    }
    for (const at of arrives) {
      if (!options.stops?.includes(at)) continue
      instants.push({ at, guest: domain })
      if (options.isEnough?.(console, instants)) return done({ kind: 'enough' })
    }
    return done(ending)
  }
}

/** Returns the tests of a file, all with the kernel above. */
const testsOf = (...tests: readonly object[]): GuestTest[] =>
  parseTestFile(JSON.stringify({ tests: tests.map((test) => ({ kernel: 'k', ...test })) }), 'tests.json').map(
    (spec, i) => ({
      ...spec,
      name: spec.name ?? `test ${i}`,
      load: async () => ({ kernel, config, symbolsOf: async () => symbols }),
    }),
  )

async function results(
  tests: readonly GuestTest[],
  machine: Runner | string,
  more: Partial<SuiteOptions> = {},
): Promise<CaseResult[]> {
  const all: CaseResult[] = []
  const runner = typeof machine === 'string' ? machine : () => machine
  const options = {
    goldens: new Goldens(new Map(), false),
    timeout: 7,
    signal: new AbortController().signal,
    onCase() {},
  }
  for await (const one of runSuite(tests, { ...options, runner, ...more })) all.push(one)
  return all
}

/** Returns the differences of a run, as lines; an empty list for one that passes. */
async function ofRun(run: object, script: Script): Promise<string[]> {
  const machine = new Pretended(script)
  const [built, ran] = await results(testsOf({ run }), machine)
  if (built?.result !== 'pass') throw new Error('the guest is not built')
  if (machine.closed !== 1) throw new Error('the guests of the run are not closed')
  return (ran?.differences ?? []).map(differenceText)
}

t.test('texts of the console, in order', async (t) => {
  const pieces = ['boot', 'ing\r\n', 'RAM: 64 MiB\r\nend\n']
  const ending: Ending = { kind: 'reset' }
  for (const expectConsole of [
    ['booting\nRAM'],
    ['booting', 'end'],
    [{ pattern: 'RAM: \\d+ MiB' }, 'end'],
    [{ pattern: 'b.*' }, { pattern: 'R.*' }, { pattern: 'e[a-z]+' }],
  ]) {
    t.same(await ofRun({ expectConsole }, { pieces, ending }), [], JSON.stringify(expectConsole))
  }
  t.same(await ofRun({ expectConsole: ['end', 'booting'] }, { pieces, ending }), [
    'console after end: expected "booting", found nothing; it ended by reset',
  ])
  t.same(await ofRun({ expectConsole: [{ pattern: 'RAM: \\d+ GiB' }] }, { pieces, ending }), [
    'console: expected "/RAM: \\\\d+ GiB/", found nothing; it ended by reset',
  ])
  t.same(await ofRun({ expectConsole: ['end', 'end'] }, { pieces, ending }), [
    'console after end: expected "end", found nothing; it ended by reset',
  ])
})

t.test('a run is enough when all was seen, and its end does not matter then', async (t) => {
  const machine = new Pretended({ pieces: ['a', 'b', 'c'], ending: { kind: 'reset' } })
  await results(testsOf({ run: { expectConsole: ['b'] } }), machine)
  const { isEnough, timeout, stops } = machine.asked[0]?.options ?? { timeout: 0 }
  t.equal(isEnough?.('ab', []), true)
  t.equal(isEnough?.('a', []), false)
  t.equal(timeout, 7, 'the time of the suite')
  t.equal(stops, undefined)
  t.same(await ofRun({ expectConsole: ['c'] }, { pieces: ['abc'], ending: { kind: 'reset' } }), [])
  const waits = new Pretended({ pieces: ['a'], ending: { kind: 'exit', code: 3 } })
  await results(testsOf({ run: { expectConsole: ['a'], ends: 'exit 3', timeout: 9 } }), waits)
  t.equal(waits.asked[0]?.options.isEnough, undefined, 'a run whose end is expected goes on to its end')
  t.equal(waits.asked[0]?.options.timeout, 9)
})

const ENDINGS: readonly (readonly [ending: Ending, words: string])[] = [
  [{ kind: 'exit', code: 0 }, 'exit 0'],
  [{ kind: 'exit', code: 255 }, 'exit 255'],
  [{ kind: 'reset' }, 'reset'],
  [{ kind: 'timeout' }, 'timeout'],
  ...(Object.keys(SHUTDOWN) as (keyof typeof SHUTDOWN)[]).map(
    (reason) => [{ kind: 'shutdown', reason }, reason] as const,
  ),
  [{ kind: 'hypercall', name: 'mmu_update' }, 'hypercall mmu_update'],
  [{ kind: 'exception', vector: 14, rip: 0x1000n }, 'exception 14'],
]

t.test('every end of a run, expected and not', async (t) => {
  for (const [ending, words] of ENDINGS) {
    t.equal(endingWords(ending), words)
    t.equal(checkEnding(words), words)
    t.same(await ofRun({ ends: words }, { ending }), [], words)
    const other = words === 'reset' ? 'poweroff' : 'reset'
    t.same(await ofRun({ ends: other }, { ending }), [`end: expected "${other}", found "${endingText(ending)}"`])
  }
  t.equal(endingText({ kind: 'exception', vector: 6, rip: 0xffffffff80100000n }), 'exception 6 at 0xffffffff80100000')
})

t.test('a run without expectations fails by five ends', async (t) => {
  const dies = ['reset', 'timeout', 'crash', 'watchdog', 'exception 14']
  for (const [ending, words] of ENDINGS) {
    const expected = dies.includes(words) ? [`end: expected "no failure", found "${endingText(ending)}"`] : []
    t.same(await ofRun({}, { ending }), expected, words)
  }
})

t.test('moments: registers and memory at a symbol and at the end', async (t) => {
  const at = [
    {
      symbol: 'kmain',
      memory: [{ at: 'kmain', text: 'HELLO' }],
      expect: { vcpus: [{ registers: { rip: '0x100000' } }] },
    },
    { end: true, memory: [{ at: '0x100000', hex: '30 ?1' }] },
  ]
  const machine = new Pretended({ arrives: [BigInt(KMAIN)] })
  const [, ran] = await results(testsOf({ run: { at } }), machine)
  t.same(machine.asked[0]?.options.stops, [BigInt(KMAIN)])
  t.same(ran, { name: 'test 0: run', result: 'pass' })
  const wrong = [
    { symbol: 'kmain', memory: [{ at: 'kmain+1', text: 'HELLO' }] },
    { end: true, expect: { type: 'pv', vcpus: [{ symbol: 'kmain-0x10' }] } },
  ]
  t.same(await ofRun({ at: wrong, ends: 'exit 0' }, { arrives: [BigInt(KMAIN)], ending: { kind: 'exit', code: 0 } }), [
    'at kmain: virtual memory at 0x100011 (kmain+1): expected "48 45 4c 4c 4f", found "45 4c 4c 4f 00"',
    'at the end: type: expected "pv", found "pvh"',
    'at the end: vcpus[0].symbol: expected "kmain-0x10", found nothing',
  ])
  t.same(await ofRun({ at: [{ symbol: 'kmain' }], ends: 'reset' }, { ending: { kind: 'reset' } }), [
    'at kmain: expected "an arrival", found "reset"',
  ])
  const [, unknown] = await results(testsOf({ run: { at: [{ symbol: 'kmian' }] } }), machine)
  t.match(unknown, { result: 'fail', differences: [{ at: 'at', found: null, hint: /address is unknown/ }] })
})

t.test('the guest is enough at its moments, after its console', async (t) => {
  const machine = new Pretended({ pieces: ['a'], arrives: [BigInt(KMAIN)] })
  await results(testsOf({ run: { expectConsole: ['a'], at: [{ symbol: 'kmain' }] } }), machine)
  const { isEnough } = machine.asked[0]?.options ?? {}
  const there = [{ at: BigInt(KMAIN), guest: machine.asked[0]?.domain as Domain }]
  t.equal(isEnough?.('a', []), false)
  t.equal(isEnough?.('', there), false)
  t.equal(isEnough?.('a', there), true)
  const ends = new Pretended({ ending: { kind: 'exit', code: 0 } })
  await results(testsOf({ run: { at: [{ end: true }] } }), ends)
  t.equal(ends.asked[0]?.options.isEnough, undefined, 'a guest of which only the end is checked runs to it')
})

t.test('memory of the built guest', async (t) => {
  const memory = [
    { at: '0x100000', text: '0123456789abcdefHELLO' },
    { at: 'rip', hex: '30 3? ?2' },
    { at: '0x100000', virtual: true, hex: '31' },
    { at: '0x100000', text: '0123456789abcdefHELLA' },
    { at: 'nowhere', text: 'a' },
    { at: '0x100000000000', text: 'a' },
  ]
  const [result] = await results(testsOf({ memory }), '')
  t.same(result?.differences?.map(differenceText), [
    'virtual memory at 0x100000: expected "31", found "30"',
    'physical memory at 0x100010: expected "48 45 4c 4c 41", found "48 45 4c 4c 4f"',
    'memory at nowhere: expected "61", found nothing; the address is unknown: expected a number, a register, a region or a symbol, found \'nowhere\'',
    'memory at 0x100000000000: expected "61", found nothing; the range is outside the guest\'s memory: expected within [0x0, 0xa0000), [0x100000, 0x4000000), found [0x100000000000, 0x100000000001)',
  ])
})

t.test('cases that are skipped, each with its reason', async (t) => {
  const tests = testsOf({ run: {}, variants: ['no-rsdp'] })
  t.same(
    (await results(tests, 'no machine')).map(({ name, result, reason }) => [name, result, reason]),
    [
      ['test 0', 'pass', undefined],
      ['test 0: run', 'skip', 'no machine'],
      ['test 0: no-rsdp', 'skip', 'no machine'],
    ],
  )
  const refusing = new Pretended({ refusal: 'it is too large' })
  t.match(await results(tests, refusing), [
    { result: 'pass' },
    { reason: 'it is too large' },
    { reason: 'it is too large' },
  ])
  t.same(refusing.asked, [])
  const failing = testsOf({ run: {} }).map((test) => ({
    ...test,
    load: async () => {
      throw new DomainBuilderError('not-pvh', 'the kernel is another one')
    },
  }))
  t.match(await results(failing, refusing), [
    { result: 'fail', differences: [{ at: 'build', found: 'not-pvh', hint: 'the kernel is another one' }] },
    { name: 'test 0: run', result: 'skip', reason: 'the guest is not built' },
  ])
})

t.test('variants: each is a run by console and end, and a wrong name is refused', async (t) => {
  const run = { expectConsole: ['ok'], at: [{ symbol: 'kmain' }] }
  const machine = new Pretended({ pieces: ['ok'], arrives: [BigInt(KMAIN)] })
  const all = await results(testsOf({ run, variants: { except: { 'no-rsdp': 'it needs ACPI' } } }), machine)
  t.match(all.slice(0, 2), [{ result: 'pass' }, { name: 'test 0: run', result: 'pass' }])
  const variants = all.slice(2)
  t.ok(variants.length > 10)
  t.ok(
    variants.every(
      ({ variant, name }) => variant && name === `test 0: ${variant.name}` && variant.rule && variant.source,
    ),
  )
  t.match(
    variants.find(({ name }) => name.endsWith('no-rsdp')),
    { result: 'skip', reason: 'it needs ACPI' },
  )
  t.equal(variants.filter(({ result }) => result === 'pass').length, machine.asked.length - 1)
  t.equal(machine.closed, machine.asked.length)
  t.ok(
    machine.asked.slice(1).every(({ options }) => options.stops === undefined),
    'no moments',
  )
  t.equal(new Set(machine.asked.map(({ domain }) => domain)).size, machine.asked.length, 'each is another guest')
  const dead = new Pretended({ pieces: ['line 1\r\n', 'line 2'], ending: { kind: 'reset' } })
  const [, , died] = await results(testsOf({ run: {}, variants: ['no-memmap'] }), dead)
  t.match(died, { result: 'fail', console: ['line 1', 'line 2'], variant: { name: 'no-memmap', rule: /memory map/ } })
  await t.rejects(results(testsOf({ run: {}, variants: ['no-rdsp'] }), dead), {
    code: 'bad-config',
    message: /^test 0 has no variant no-rdsp; did you mean no-rsdp\?/,
  })
})

t.test('a machine with another purpose gets the same type of guest, or none', async (t) => {
  const machine = new Pretended({ purpose: 'restore', ending: { kind: 'shutdown', reason: 'poweroff' } })
  const [, ran] = await results(testsOf({ run: {} }), machine)
  t.equal(ran?.result, 'pass')
  const asked = machine.asked[0]?.domain
  t.same(asked?.boot, buildDomain(kernel, { ...config, purpose: 'restore' } as DomainConfig).boot)
  t.notSame(asked?.boot, buildDomain(kernel, config).boot)
  const forPc = testsOf({ run: {} }).map((test) => ({
    ...test,
    load: async () => ({
      kernel,
      config: { ...config, type: 'linux' } as DomainConfig,
      symbolsOf: async () => symbols,
    }),
  }))
  t.match((await results(forPc, machine))[1], {
    result: 'skip',
    reason: /linux is invalid for a guest that Xen starts/,
  })
})

t.test('faults that are no test result are thrown, and an abort is', async (t) => {
  const load = async () => {
    throw new DomainBuilderError('cannot-read', 'k: no such file')
  }
  await t.rejects(results([{ name: 'a', memory: [], load }], ''), { code: 'cannot-read' })
  const abort = new AbortController()
  const begun: string[] = []
  const onCase = (name: string): void => {
    begun.push(name)
    if (name === 'second') abort.abort(new Error('stopped'))
  }
  const tests = testsOf({ name: 'first' }, { name: 'second', run: {} }, { name: 'third' })
  await t.rejects(results(tests, new Pretended({}), { signal: abort.signal, onCase }), { message: 'stopped' })
  t.same(begun, ['first', 'second'])
})

t.test('expectations in files: compared, written, and shared by two tests', async (t) => {
  const expect = { file: 'guest.json' }
  const two = testsOf({}, {}).map((test) => ({ ...test, expect }))
  const first = new Goldens(new Map(), true)
  t.match(await results(two, '', { goldens: first }), [{ result: 'pass' }, { result: 'pass' }])
  t.same([...first.texts.keys()], ['guest.json'])
  const known = new Map([['guest.json', { type: 'pv', memory: { pages: 1 } }]])
  t.match(await results(two, '', { goldens: new Goldens(known, false) }), [{ result: 'fail' }, { result: 'fail' }])
  const again = new Goldens(known, true)
  await results(two, '', { goldens: again })
  t.match(again.texts.get('guest.json'), /"type": "pvh",\n {2}"memory": \{ "pages": \d+ \}\n\}\n$/)
  const other = two.map((test, i) => ({
    ...test,
    load: async () => ({
      kernel,
      config: { ...config, memory: (64 + i) * MiB } as DomainConfig,
      symbolsOf: async () => symbols,
    }),
  }))
  const shared = new Goldens(known, true)
  t.match(await results(other, '', { goldens: shared }), [{ result: 'pass' }, { result: 'fail' }])
})
