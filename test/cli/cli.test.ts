/**
 * Tests of the command, run as a user runs it: its files, its output on each stream, its exit status.
 *
 * Source: docs/commands.md.
 * Gotcha: exit codes and streams are the contract, so this runs the compiled program in a separate process.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import type { Command } from '../../lib/cli/command.js'
import { helpText } from '../../lib/cli/help.js'
import { buildElf, xenNotes } from '../../lib/testing/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { MAIN, runCommand } from './command.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-cli-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const file = (name: string, bytes?: Uint8Array | string): string => {
  const full = path.join(folder, name)
  if (bytes !== undefined) writeFileSync(full, bytes)
  return full
}

function xdb(args: readonly string[], input?: Uint8Array): { code: number | null; out: string; err: string } {
  const { code, text, err } = runCommand(args, input === undefined ? {} : { input })
  return { code, out: text, err }
}

const kernel = file('kernel', pvKernelFile())

t.test('build writes an image and a sidecar, sparse, and inspect says the same of them', async (t) => {
  const image = file('guest.img')
  const ramdisk = file('ramdisk', pattern(4095))
  const built = xdb([
    'build',
    kernel,
    '-o',
    image,
    '--memory',
    '1G',
    '--ramdisk',
    ramdisk,
    '--cmdline',
    'root=/dev/xvda1 ro',
    '--vcpus',
    '2',
    '--json',
  ])
  t.equal(built.err, '')
  t.equal(built.code, 0)
  const { output, format, guest } = JSON.parse(built.out) as Record<string, unknown>
  t.equal(output, image)
  t.equal(format, 'raw')
  t.equal(statSync(image).size, 2 ** 30)
  t.ok(statSync(image).blocks * 512 < 2 ** 23, 'holes stay holes')
  const sidecar = JSON.parse(readFileSync(`${image}.json`, 'utf8')) as {
    startInfo: { cmd_line: string; magic: string }
  }
  t.equal(sidecar.startInfo.magic, 'xen-3.0-x86_64')
  t.equal(sidecar.startInfo.cmd_line, 'root=/dev/xvda1 ro')
  for (const name of [image, `${image}.json`]) {
    const inspected = xdb(['inspect', name, '--json'])
    const { schema: _, ...said } = JSON.parse(inspected.out) as Record<string, unknown>
    t.same(said, guest, `inspect ${path.basename(name)}`)
  }
  t.match(xdb(['inspect', image]).out, /start_info {2,}|start_info at pfn/)
})

t.test('the same command writes the same bytes', async (t) => {
  const names = [file('one/x.img'), file('two/x.img')]
  for (const name of names) {
    mkdirSync(path.dirname(name), { recursive: true })
    t.equal(xdb(['build', kernel, '-o', name, '--memory', '16']).code, 0)
  }
  const [one, two] = names.map((name) => [readFileSync(name), readFileSync(`${name}.json`)])
  t.ok(one?.every((bytes, i) => bytes.equals(two?.[i] as Buffer)))
})

t.test('p2m from a file, an offset, or neither', async (t) => {
  const table = BigUint64Array.from({ length: 4096 }, (_, i) => BigInt(4095 - i))
  const p2m = file('p2m.bin', new Uint8Array(table.buffer))
  const image = file('p2m.img')
  t.equal(xdb(['build', kernel, '-o', image, '--type', 'pv', '--memory', '16', '--p2m', `file:${p2m}`]).code, 0)
  t.equal(JSON.parse(xdb(['inspect', image, '--json']).out).p2m, 'list')
  t.equal(xdb(['build', kernel, '-o', image, '--type', 'pv', '--memory', '16', '--p2m', 'offset:0x100']).code, 0)
  t.equal(JSON.parse(xdb(['inspect', image, '--json']).out).p2m, 'offset:256')
  t.equal(xdb(['build', kernel, '-o', image, '--type', 'pv', '--memory', '32', '--p2m', `file:${p2m}`]).code, 2)
  t.equal(xdb(['build', kernel, '-o', image, '--type', 'pv', '--p2m', 'backwards']).code, 2)
})

t.test('a kernel from standard input', async (t) => {
  const bytes = readFileSync(kernel)
  const out = JSON.parse(xdb(['inspect', '-', '--json'], bytes).out) as { container: string }
  t.equal(out.container, 'elf')
})

t.test('a refusal is one line that names the cause, and nothing is written', async (t) => {
  const good = pvKernelFile()
  const noNotes = buildElf({ class: 64, entry: 0x100000, segments: [{ paddr: 0x100000, data: pattern(4096) }] })
  const unknown = pvKernelFile({ notes: { FEATURES: '!telepathy' } })
  const wrongXen = buildElf({
    class: 64,
    entry: 0x100000,
    segments: [{ paddr: 0x100000, data: pattern(4096) }],
    notes: xenNotes({ LOADER: 'generic', XEN_VERSION: 'xen-2.0' }),
  })
  const cases: [string, Uint8Array | string, string[], RegExp][] = [
    ['too little memory', good, ['--memory', '1M'], /^xen-domain-builder: memory-too-small: .*\d+ pages.*\(1 MiB\)$/],
    ['a truncated file', good.subarray(0, 5000), [], /^xen-domain-builder: truncated: .*0x[0-9a-f]+/],
    ['a text file', 'hello, I am no kernel\n', [], /^xen-domain-builder: not-a-kernel: .*text/],
    ['an empty file', '', [], /^xen-domain-builder: not-a-kernel: .*empty/],
    ['no Xen notes', noNotes, [], /^xen-domain-builder: not-xen-pv: .*note/],
    ['another Xen', wrongXen, [], /^xen-domain-builder: not-xen-pv: .*xen-3\.0.*xen-2\.0/],
    ['an unknown required feature', unknown, [], /^xen-domain-builder: unknown-feature: .*telepathy/],
    ['a ramdisk that is not there', good, ['--ramdisk', file('absent')], /^xen-domain-builder: cannot-read: .*absent/],
  ]
  const before = readdirSync(folder).length
  for (const [name, bytes, args, expected] of cases) {
    const input = file('input', bytes)
    const refused = xdb(['build', input, '-o', file('refused.img'), ...args])
    t.equal(refused.code, args.includes('--ramdisk') ? 2 : 1, name)
    t.match(refused.err.trimEnd(), expected, name)
    t.equal(refused.err.trimEnd().split('\n').length, 1, `${name}: one line`)
    t.equal(refused.out, '')
    t.notOk(existsSync(file('refused.img')) || existsSync(file('refused.img.json')), `${name}: nothing written`)
  }
  t.equal(readdirSync(folder).length, before + 1, 'no temporary file is left')
})

t.test('an output that cannot be written', async (t) => {
  const refused = xdb(['build', kernel, '-o', file('no/such/folder/x.img')])
  t.equal(refused.code, 2)
  t.match(refused.err, /^xen-domain-builder: cannot-write: /)
})

t.test('told to stop, it leaves nothing behind', async (t) => {
  const image = file('stopped/x.img')
  mkdirSync(path.dirname(image), { recursive: true })
  const big = file('big', pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } }))
  // Through env(1): tap adds itself and handlers for signals to every Node whose environment has its variable.
  const child = spawn('env', [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    MAIN,
    'build',
    big,
    '-o',
    image,
    '--memory',
    '2T',
  ])
  const started = Date.now()
  while (readdirSync(path.dirname(image)).length === 0 && Date.now() - started < 20000)
    await new Promise((r) => setTimeout(r, 5))
  child.kill('SIGTERM')
  const signal = await new Promise((resolve) => child.on('exit', (code, s) => resolve(s ?? code)))
  t.equal(signal, 'SIGTERM')
  t.same(readdirSync(path.dirname(image)), [])
})

t.test('build --config: the guest of an xl.cfg, its options overridden, keys that are for others named', (t) => {
  const cfg = file(
    'guest.cfg',
    `kernel = "${kernel}"\nmemory = 0x10\nvcpus = 2\nname = "g"\nroot = "/dev/xvda"\nextra = "ro"\ndisk = ['/d,raw,xvda,rw']\nvkb = ['']\n`,
  )
  const ran = xdb(['build', '--config', cfg, '-o', file('cfg.img'), '--json'])
  t.equal(ran.code, 0, ran.err)
  t.match(ran.err, /^[^\n]*guest\.cfg: not written, since only xl uses them: vkb\n$/)
  t.match(JSON.parse(ran.out), { config: { unused: [], notCarried: ['vkb'], unknown: [], warnings: [] } })
  const odd = file(
    'odd.cfg',
    `kernel = "${kernel}"\nmemroy = 8\ncmdline = "a"\nroot = "b"\nvkb = []\nmemory = 16\nzzz = 1\n`,
  )
  t.equal(
    xdb(['build', '--config', odd, '-o', file('odd.img')]).err,
    [
      `${odd}: root is ignored, since cmdline is set\n`,
      `${odd}: unknown keys: memroy (did you mean memory?), zzz\n`,
      `${odd}: not written, since only xl uses them: vkb\n`,
    ].join(''),
  )
  xdb([
    'build',
    kernel,
    '-o',
    file('same.img'),
    '--type',
    'pv',
    '--memory',
    '16',
    '--vcpus',
    '2',
    '--name',
    'g',
    '--cmdline',
    'root=/dev/xvda ro',
  ])
  t.ok(readFileSync(file('cfg.img')).equals(readFileSync(file('same.img'))), 'as if the options had said it')
  const over = xdb(['build', '--config', cfg, '-o', file('over.img'), '--memory', '8'])
  t.equal(over.code, 0, over.err)
  t.equal(statSync(file('over.img')).size, 8 * 2 ** 20)
  for (const [text, message] of [
    ['memory = "x"\n', /bad-config: the xl.cfg's memory is invalid: expected a whole number, found 'x'/],
    ['kernel = ["x"]\n', /expected one value, found a list/],
    ['type = "hvm"\n', /expected pv or pvh/],
    ['memory 5\n', /line 1, column 8/],
  ] as const) {
    const refused = xdb(['build', '--config', file('bad.cfg', text), '-o', file('bad.img')])
    t.equal(refused.code, 2)
    t.match(refused.err, message)
  }
  const features = file('features.cfg', `kernel = "${kernel}"\nfeatures = "writable_page_tables"\n`)
  const foreign = xdb(['build', '--config', features, '--type', 'auto', '-o', file('auto.img')])
  t.match(foreign, { code: 0, err: /: features is used for a PV guest only, and xl ignores it\n$/ })
  const hvm = file('hvm.cfg', 'type = "hvm"\n')
  const asPvh = xdb(['build', kernel, '--config', hvm, '--type', 'pvh', '-o', file('bad.img')])
  t.match(asPvh, { code: 1, err: /: not-pvh: / }, 'this PV kernel is refused as PVH')
  // Each line is refused, unless the command line decides instead.
  for (const [line, ...option] of [
    ['builder = "hvm"', '--type', 'pv'],
    ['type = "hvm"', '--type', 'auto'],
    ['type = "pvh"\npvshim = 1', '--type', 'pv'],
    ['memory = "x"', '--memory', '8'],
    ['vcpus = "x"', '--vcpus', '1'],
    ['vcpus = 2\nmaxvcpus = 1', '--vcpus', '1'],
    ['name = ["x"]', '--name', 'mine'],
    ['extra = ["x"]', '--cmdline', 'quiet'],
    ['ramdisk = ["x"]', '--ramdisk', kernel],
    ['kernel = ["x"]'],
    ['firmware = "uefi"'],
  ] as const) {
    const config = file('over.cfg', `${line}\n`)
    const decided = xdb(['build', kernel, '--config', config, '-o', file('over.img'), ...option])
    t.match(decided, { code: 0, err: '' }, `${line}, ${option.join(' ')}`)
    const left = xdb(['build', '--config', config, '-o', file('bad.img')])
    t.match(left, { code: 2, err: /bad-config: the xl.cfg's / }, line)
  }
  t.equal(
    xdb(['build', '--config', file('none.cfg', 'memory = 8\n'), '-o', file('bad.img')]).code,
    2,
    'no kernel anywhere',
  )
  t.end()
})

t.test('usage: exit 2', async (t) => {
  const cases = [
    ['frob'],
    ['build'],
    ['build', kernel],
    ['build', kernel, '-o', 'x', '--frob'],
    ['inspect', 'a', 'b'],
    ['build', kernel, '-o', '-'],
    ['build', kernel, '-o', 'x', '--vcpus', 'two'],
    ['build', kernel, '-o', 'x', '--type', 'qemu'],
  ]
  for (const args of cases) {
    const ran = xdb(args)
    t.equal(ran.code, 2, args.join(' '))
    t.equal(ran.out, '')
    t.match(ran.err, /^xen-domain-builder: .+\nTry/)
  }
})

t.test('--help and --version', async (t) => {
  t.match(xdb(['--version']).out, /^\d+\.\d+\.\d+\n$/)
  const help = xdb(['--help'])
  t.equal(help.code, 0)
  for (const name of [...help.out.matchAll(/^ {2}([a-z]+) {2,}/gm)].map((match) => match[1] as string)) {
    const one = xdb([name, '--help'])
    t.equal(one.code, 0)
    t.match(one.out, new RegExp(`^Usage: xen-domain-builder ${name}`))
  }
})

t.test(
  '--help has every option of the table once, with its words, in lines that a terminal has room for',
  async (t) => {
    for (const file of readdirSync(path.dirname(MAIN)).filter((name) => name.endsWith('.js') && name !== 'main.js')) {
      const { command } = (await import(path.join(path.dirname(MAIN), file))) as { command?: Command }
      if (!command) continue
      const lines = helpText('xdb', command)
      t.equal(lines[0], `Usage: xdb ${command.usage}`)
      for (const line of lines) t.ok(line.length <= 80, line)
      const listed = lines.flatMap((line) => /^ {2}(?:-\w, )?--([a-z0-9-]+)/.exec(line)?.[1] ?? [])
      t.same(listed.toSorted(), Object.keys(command.options).toSorted(), file)
      for (const [name, { type, value, choices = [] }] of Object.entries(command.options)) {
        t.equal(value === undefined, type === 'boolean', `--${name} names its value if it has one`)
        for (const word of choices) t.match(lines.join('\n'), word)
      }
    }
  },
)

t.test('DEBUG tells the story of a build', async (t) => {
  const ran = spawnSync(process.execPath, [MAIN, 'build', kernel, '-o', file('story.img'), '--memory', '16'], {
    encoding: 'utf8',
    env: { ...process.env, DEBUG: 'xen-domain-builder:*' },
  })
  t.match(ran.stderr, /layout kernel: pfn 0x100 \+ 3 pages at 0xffffffff80100000/)
  t.match(ran.stderr, /tables L4: 1 table/)
  t.match(ran.stderr, /boot start_info\.nr_pages = 0x1000/)
})
