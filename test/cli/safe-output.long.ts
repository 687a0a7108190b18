/**
 * No text of a file reaches a terminal as a control sequence. Every text of a snapshot, a kernel, an xl.cfg and a file
 * name is hostile here.
 *
 * Source: ../../lib/printable.ts, ../../lib/cli/printer.ts.
 * Gotcha: a refusal quotes the file too, so its message is checked as well.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { buildBzImage, buildElf, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { MAIN, runCommand, UNSAFE } from './command.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-safe-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => path.join(folder, name)

const EVIL =
  '\x1b]0;pwned\x07\x1b[2J\r\u009b31m\u202e\u2066\u2028\u200b\ufeff\u{e0041}<script>alert(1)</script>]]>&"\'`'

/** Runs the command and checks that its output has no unsafe characters. */
function run(t: Test, ...args: readonly string[]): void {
  const { text, err, code } = runCommand(args, { cwd: folder })
  const what = args.join(' ').slice(0, 60)
  t.notMatch(text.replaceAll('\n', ''), UNSAFE, `${what}: answer`)
  t.notMatch(err.replaceAll('\n', ''), UNSAFE, `${what}: message`)
  for (const line of err.split('\n')) if (line.length > 1300) t.fail(`${what}: a message of ${line.length} characters`)
  t.ok(code === 0 || code === 1 || code === 2, `${what}: ${code}`)
  t.notMatch(err, /^ +at /m, `${what}: no stack`)
}

interface Sidecar {
  name: string
  kernel: object
  regions: { name: string; pages: number }[]
  saved?: object
  startInfo: { pfn: number }
  boot?: { startInfo?: { pfn: number } }
}

writeFileSync(at('kernel'), pvKernelFile())
runCommand(['build', 'kernel', '-o', 'pv.img', '--memory', '4'], { cwd: folder })

t.test('a snapshot', async (t) => {
  const sidecar = JSON.parse(readFileSync(at('pv.img.json'), 'utf8')) as Sidecar
  const fixed = ['page_tables', 'p2m', 'start_info']
  const hostile = {
    ...sidecar,
    name: `NAME${EVIL}`,
    kernel: { container: `C${EVIL}`, codec: `C${EVIL}`, sha256: `S${EVIL}` },
    regions: sidecar.regions.map((one) => (fixed.includes(one.name) ? one : { ...one, name: one.name + EVIL })),
    saved: { config: EVIL, records: [{ name: `RECORD${EVIL}`, body: '' }] },
  }
  const memory = readFileSync(at('pv.img'))
  Buffer.from(`CMD${EVIL}\0`).copy(memory, memory.indexOf('xen-3.0-x86_64') + 0x80)
  const [other, changed] = [structuredClone(hostile), Buffer.from(memory)]
  other.name = `OTHER${EVIL}`
  other.saved = { config: 'x', records: [{ name: `OTHER${EVIL}`, body: 'AAAA' }] }
  changed[0x100000] = 0xff
  for (const [name, json, image] of [
    ['a.img', hostile, memory],
    ['b.img', other, changed],
  ] as const) {
    writeFileSync(at(`${name}.json`), JSON.stringify(json))
    writeFileSync(at(name), image)
  }
  for (const command of ['inspect', 'check', 'map', 'validate']) {
    run(t, command, 'a.img')
    run(t, command, 'a.img', '--json')
  }
  t.match(runCommand(['inspect', 'a.img'], { cwd: folder }).text, /^guest {4}NAME\\x1b\]0;pwned\\x07/)
  run(t, 'diff', 'a.img', 'b.img')
  run(t, 'diff', 'a.img', 'b.img', '--json')
  t.equal(runCommand(['diff', 'a.img', 'b.img'], { cwd: folder }).code, 1)
  run(t, 'map', 'a.img', '--at', '0xffffffff80100000')
  run(t, 'map', 'a.img', '--at', '0x1000')
  for (const to of ['x.xl', 'x.core', 'y.img']) {
    run(t, 'convert', 'a.img', '-o', to)
    run(t, 'inspect', to)
  }
  for (const drawing of ['a.svg', 'a.html']) {
    run(t, 'map', 'a.img', '-o', drawing)
    const text = readFileSync(at(drawing), 'utf8')
    t.notMatch(text.replaceAll('\n', ''), UNSAFE, drawing)
    t.notMatch(text, '<script>alert')
  }
})

t.test('a kernel', async (t) => {
  const base = { XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: 0xffffffff80000000n }
  const latin1 = '\x1b]0;pwned\x07\x1b[2J\r\x9b31m'
  const kernel = (notes: Parameters<typeof xenNotes>[0], owner?: string) =>
    buildElf({
      class: 64,
      entry: 0xffffffff80100000n,
      segments: [{ paddr: 0x100000, vaddr: 0xffffffff80100000n, data: patternBytes(64), memsz: 4096 }],
      notes: [...xenNotes(notes), ...(owner === undefined ? [] : [{ owner, type: 7, desc: latin1 }])],
    })
  const files = {
    os: kernel({ ...base, GUEST_OS: latin1, GUEST_VERSION: latin1 }),
    loader: kernel({ ...base, LOADER: latin1 }),
    xen: kernel({ ...base, XEN_VERSION: latin1 }),
    required: kernel({ ...base, FEATURES: `!${latin1}` }),
    features: kernel({ ...base, FEATURES: latin1 }),
    pae: kernel({ ...base, PAE_MODE: latin1 }),
    owner: kernel(base, latin1),
    version: buildBzImage({ payload: gzipSync(kernel(base)), version: `6.1${latin1}` }),
    text: Buffer.from(`${latin1} no kernel`),
  }
  for (const [name, bytes] of Object.entries(files)) {
    writeFileSync(at(name), bytes)
    run(t, 'inspect', name)
    run(t, 'check', name, '--json')
    run(t, 'build', name, '-o', 'out.img', '--memory', '4')
    run(t, 'diff', name, 'kernel')
  }
})

t.test('an xl.cfg', async (t) => {
  const cfg = [
    `kernel = "kernel"`,
    `memory = 4`,
    `name = "n\x1b[2J\u202e"`,
    `extra = "e\u009b2J"`,
    `root = "\u2028"`,
    ...Array.from({ length: 300 }, (_, i) => `unknown_key_${i} = 1`),
  ]
  writeFileSync(at('guest.cfg'), `${cfg.join('\n')}\n`)
  run(t, 'build', '--config', 'guest.cfg', '-o', 'cfg.img')
  t.match(runCommand(['build', '--config', 'guest.cfg', '-o', 'cfg.img'], { cwd: folder }).err, /, and \d+ more$/m)
  writeFileSync(at('bad.cfg'), `kernel = "kernel"\nmemory = "${EVIL.replace(/["'\r]/g, '')}"\n`)
  run(t, 'build', '--config', 'bad.cfg', '-o', 'cfg.img')
})

t.test('words of the command line', async (t) => {
  run(t, 'build', 'kernel', '-o', 'out.img', '--cmdline', EVIL, '--name', EVIL, '--memory', '4')
  for (const words of [[EVIL], [`--${EVIL}`], ['inspect', EVIL], ['inspect', 'kernel', EVIL], ['build', `--${EVIL}`]])
    run(t, ...words)
  run(t, 'build', 'kernel', '-o', 'x', '--type', EVIL)
  run(t, 'inspect', 'x'.repeat(100_000))
})

t.test('names of files', async (t) => {
  const name = EVIL.replaceAll('/', '')
  copyFileSync(at('kernel'), at(name))
  run(t, 'inspect', name)
  run(t, 'map', name)
  run(t, 'extract', name, '-o', `out-${name}`)
  run(t, 'build', name, '-o', `guest-${name}.img`, '--memory', '4')
  run(t, 'build', name, '-o', `guest-${name}`, '--memory', '4', '--format', 'qemu', '--type', 'linux')
})

t.test('a refusal that knows of 20,000 ranges names a few', async (t) => {
  const sidecar = JSON.parse(readFileSync(at('pv.img.json'), 'utf8')) as object
  const count = 20_000
  const ranges = Array.from({ length: count }, (_, i) => [2 * i + 2, 2 * i + 3])
  writeFileSync(
    at('many.json'),
    JSON.stringify({
      ...sidecar,
      format: 'xen-domain-builder/qemu',
      memory: { bytes: count * 4096, pages: count, ranges, data: [] },
    }),
  )
  writeFileSync(at('many'), '')
  run(t, 'inspect', 'many.json')
  run(t, 'check', 'many.json')
})

t.test('progress, and bytes, at a terminal', async (t) => {
  if (!(await requirePeer(t, () => findCommand('script', 'bsdutils')))) return
  const atTerminal = (...args: readonly string[]) => {
    const { NODE_OPTIONS, ...env } = process.env
    const words = [process.execPath, MAIN, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
    return spawnSync('script', ['-qfec', words, '/dev/null'], { cwd: folder, env, encoding: 'utf8' })
  }
  const name = `\x1b[2J\u202e${'long'.repeat(40)}`
  // Takes long enough to decompress that progress is shown.
  const data = Buffer.alloc(120 << 20, patternBytes(2 ** 14))
  writeFileSync(at(name), gzipSync(buildElf({ class: 64, entry: 0x1000000, segments: [{ paddr: 0x1000000, data }] })))
  const shown = atTerminal('check', name)
  t.match(shown.stdout, 'decompressing \\x1b[2J\\u202elong')
  const [before = '', ...progress] = shown.stdout.split('\r\x1b[K')
  t.ok(progress.length >= 2, 'shown, and gone at the end')
  for (const part of [before, ...progress]) t.notMatch(part.replace(/\r?\n/g, ''), UNSAFE)
  t.ok((progress[0] ?? '').length < 80, 'one line of the terminal')
  const bytes = atTerminal('read', 'pv.img', '0x100000', '64')
  t.equal(bytes.status, 0)
  t.match(bytes.stdout, /^00100000( {1,2}[0-9a-f]{2}){16} {2}\|.{16}\|\r\n(.*\r\n){3}00100040\r\n$/, 'a hexdump')
  t.notMatch(bytes.stdout.replace(/\r?\n/g, ''), UNSAFE)
  const text = atTerminal('strings', 'pv.img', '--limit', '20')
  t.equal(text.status, 0)
  t.notMatch(text.stdout.replace(/\r?\n/g, ''), UNSAFE)
  t.equal(atTerminal('read', 'pv.img', '0x100000', '64', '--json').status, 0)
  for (const args of [
    ['build', 'kernel', '-o', '-', '--format', 'xl'],
    ['convert', 'pv.img', '-o', '-', '--format', 'xl'],
    ['extract', 'kernel', '-o', '-'],
  ]) {
    t.match(atTerminal(...args), { status: 2, stdout: /standard output is a terminal/ }, args[0] ?? '')
  }
})
