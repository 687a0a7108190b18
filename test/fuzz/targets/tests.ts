/**
 * Test files: their members, the expectations in them against a guest, and the reports of what differs.
 *
 * Source: lib/suite/test-file.ts, lib/testing/expectation.ts, lib/suite/tap.ts, lib/suite/junit.ts.
 * Gotcha: a report shows text of the file, so no line of it may have a control character.
 */
import { decodeUtf8 } from '../../../lib/bytes.js'
import { buildDomain, type Json, readKernel } from '../../../lib/index.js'
import { firstMissing } from '../../../lib/suite/console.js'
import { junitXml } from '../../../lib/suite/junit.js'
import type { CaseResult } from '../../../lib/suite/result.js'
import { tapCase } from '../../../lib/suite/tap.js'
import { type GuestChecks, parseTestFile, type TestSpec } from '../../../lib/suite/test-file.js'
import { differencesOf, expectationOf, expectationText, namedParts } from '../../../lib/testing/expectation.js'
import { UNSAFE } from '../../cli/command.js'
import { pvhKernelFile } from '../../fixtures/kernels.js'
import { type Target, WrongAnswer } from '../target.js'

const FILES: readonly object[] = [
  {
    tests: [
      {
        name: 'boots',
        kernel: 'kernel.elf',
        options: { type: 'pvh', memory: '64M', ramdisk: ['a', 'b'], dom0: true, vcpus: 2 },
        expect: { type: 'pvh', vcpus: [{ registers: { rip: '0x100000' } }], startInfo: null },
        memory: [
          { at: '0x100000', hex: '00 ?? 01' },
          { at: 'kmain', text: 'text', virtual: true },
        ],
        run: {
          expectConsole: ['first', { pattern: 'RAM: \\d+ (MiB|GiB)' }],
          ends: 'exit 0',
          timeout: 30,
          at: [{ symbol: 'kmain', expect: {} }, { end: true }],
          how: 'rom',
          machine: 'q35',
        },
        variants: { except: { 'no-rsdp': 'it needs one' } },
      },
    ],
  },
  {
    schema: 'xen-domain-builder/tests/1',
    tests: [{ config: 'guest.cfg', expect: 'guest.json', run: {}, variants: true }],
  },
]

export function testsTarget(): Target {
  let guest: Json
  return {
    name: 'tests',
    executions: 8000,
    maxBytes: 1 << 15,
    tokens: [
      '{',
      '}',
      '[',
      ']',
      '"',
      ',',
      ':',
      'null',
      'true',
      '"pattern"',
      '"ends"',
      'hypercall ',
      'exception 14',
      '\\u0007',
    ],
    async seeds() {
      const kernel = await readKernel(pvhKernelFile({ paddr: 0x100000 }))
      guest = expectationOf(buildDomain(kernel, { type: 'pvh', memory: 2 ** 25 })) as Json
      const whole = { tests: [{ kernel: 'k', expect: guest }] }
      return [...FILES, whole].map((file) => new TextEncoder().encode(JSON.stringify(file)))
    },
    run(bytes) {
      for (const spec of parseTestFile(decodeUtf8(bytes), 'tests.json')) use(spec, guest)
    },
  }
}

function use(spec: TestSpec, guest: Json): void {
  firstMissing('first\r\nRAM: 64 MiB\r\n', spec.run?.console ?? [])
  for (const checks of [spec, ...(spec.run?.moments ?? [])] as readonly GuestChecks[]) {
    const expected = checks.expect !== undefined && 'inline' in checks.expect ? checks.expect.inline : {}
    const differences = differencesOf(guest, expected)
    const result: CaseResult = { name: spec.name ?? '', result: 'fail', differences, console: [spec.name ?? ''] }
    const report = [...tapCase(result, 1), ...junitXml(spec.name ?? '', [result]).split('\n')]
    const unsafe = report.find((line) => UNSAFE.test(line))
    if (unsafe !== undefined) throw new WrongAnswer(`a report has a control character: ${JSON.stringify(unsafe)}`)
    const updated = namedParts(guest, expected)
    if (differencesOf(guest, updated).length > 0) throw new WrongAnswer('an updated expectation is not met')
    expectationText(updated as typeof expected)
  }
}
