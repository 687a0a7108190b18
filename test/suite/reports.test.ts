/**
 * Reports of a suite: TAP as prove reads it, and JUnit XML by the schema of Jenkins's xUnit plugin.
 *
 * Source: prove(1) and TAP::Parser of Perl; test/fixtures/junit-10.xsd, from the xUnit plugin (MIT); xmllint(1).
 * Gotcha: names and consoles come from files and guests, so they have every kind of character here.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { junitXml } from '../../lib/suite/junit.js'
import type { CaseResult } from '../../lib/suite/result.js'
import { TAP_VERSION, tapBailOut, tapCase, tapPlan } from '../../lib/suite/tap.js'
import { findCommand } from '../peer/command.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-reports-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
function put(name: string, content: string): string {
  const file = path.join(folder, name)
  writeFileSync(file, content)
  return file
}

const AWKWARD = 'a # SKIP <b> & "c" \\ \'d\' \u001b[31m\u202e\n1..2 ü \ud800 ]]>'
const variant = { name: 'no-rsdp', rule: 'The RSDP is optional: "0 if # none".', source: 'start_info.h' }
const RESULTS: readonly CaseResult[] = [
  { name: 'boots', result: 'pass' },
  { name: AWKWARD, result: 'pass' },
  { name: AWKWARD, result: 'skip', reason: AWKWARD },
  {
    name: 'boots: no-rsdp',
    result: 'fail',
    variant,
    differences: [
      { at: 'vcpus[0].registers.rip', expected: '0x1', found: '0x2' },
      { at: AWKWARD, expected: AWKWARD, found: null, hint: AWKWARD },
      { at: 'acpi', expected: null, found: [{ signature: 'DSDT', bytes: 1 }] },
    ],
    console: ['', '  indented', AWKWARD, '---', '...', '- x: y'],
  },
  { name: 'last', result: 'skip', reason: '' },
]
const tap = (results: readonly CaseResult[]): string =>
  `${[TAP_VERSION, ...results.flatMap((one, i) => tapCase(one, i + 1)), tapPlan(results.length)].join('\n')}\n`

/** Prints what TAP::Parser sees, a line for each item, and the errors that it reports. */
const PARSE = `
use TAP::Parser; use strict; binmode STDOUT, ':raw';
local $/; open my $in, '<', $ARGV[0]; my $p = TAP::Parser->new({ tap => <$in> });
while (my $r = $p->next) {
  print join("|", "test", $r->is_ok ? 1 : 0, $r->has_skip ? 1 : 0, $r->number), "\\n" if $r->is_test;
  print join("|", "yaml", map { "$_->{at}=" . ($_->{found} // '~') } $r->data->{differences}[0]), "|", $r->data->{rule}, "|", scalar @{$r->data->{console}}, "\\n" if $r->is_yaml;
  print "unknown|", $r->as_string, "\\n" if $r->is_unknown;
  print "bailout\\n" if $r->is_bailout;
}
print "error|$_\\n" for $p->parse_errors;
print join("|", "sum", $p->passed + 0, $p->failed + 0, $p->skipped + 0, $p->tests_planned), "\\n";
`

t.test('prove and its parser read the TAP, with every kind of character', async (t) => {
  if (!(await requirePeer(t, () => findCommand('prove', 'perl')))) return
  const file = put('results.tap', tap(RESULTS))
  const { stdout, stderr } = spawnSync('perl', [put('parse.pl', PARSE), file], { encoding: 'utf8' })
  t.equal(stderr, '')
  t.same(stdout.trimEnd().split('\n'), [
    'test|1|0|1',
    'test|1|0|2',
    'test|1|1|3',
    'test|0|0|4',
    `yaml|vcpus[0].registers.rip=0x2|${variant.rule}|6`,
    'test|1|1|5',
    'sum|4|1|2|5',
  ])
  const prove = (name: string, content: string) =>
    spawnSync('prove', ['--exec', 'cat', put(name, content)], { encoding: 'utf8' })
  const bad = prove('bad.tap', tap(RESULTS))
  t.match(bad, { status: 1, stdout: /Failed test: {2}4\n/ })
  t.notMatch(bad.stdout, /Parse errors/)
  const passing = RESULTS.filter(({ result }) => result !== 'fail')
  t.match(prove('good.tap', tap(passing)), { status: 0, stdout: /Result: PASS\n$/ })
  const first = RESULTS.slice(0, 1).flatMap((one) => tapCase(one, 1))
  t.match(prove('bail.tap', [TAP_VERSION, ...first, tapBailOut('k: no such\nfile'), ''].join('\n')), {
    status: 255,
    stderr: /Further testing stopped: k: no such file\n/,
  })
})

t.test('JUnit XML is valid by the schema, and has the results', async (t) => {
  if (!(await requirePeer(t, () => findCommand('xmllint', 'libxml2-utils')))) return
  const schema = path.join(projectRoot, 'test/fixtures/junit-10.xsd')
  const check = (name: string, xml: string, ...args: string[]) =>
    spawnSync('xmllint', ['--nonet', ...args, put(name, xml)], { encoding: 'utf8' })
  const xml = junitXml(AWKWARD, RESULTS)
  t.match(check('results.xml', xml, '--noout', '--schema', schema), { status: 0 })
  t.match(check('none.xml', junitXml('none', []), '--noout', '--schema', schema), { status: 0 })
  t.not(check('wrong.xml', xml.replace('<skipped', '<omitted'), '--noout', '--schema', schema).status, 0)
  const asked = (expression: string): string => check('results.xml', xml, '--xpath', expression).stdout.trim()
  t.equal(asked('count(//testcase)'), '5')
  t.equal(asked('string(//testsuite/@failures)'), '1')
  t.equal(asked('string(//testsuite/@skipped)'), '2')
  t.equal(asked('string(//failure/@message)'), 'vcpus[0].registers.rip: expected "0x1", found "0x2"')
  t.match(asked('string(//failure)'), /^The RSDP is optional: "0 if # none"\.\nvcpus\[0\]/)
  t.match(asked('string(//system-out)'), /^indented\n/)
})
