/**
 * The house rules that a compiler does not enforce: imports go downwards, one file imports each third-party package.
 *
 * Source: ARCHITECTURE.md, "The floors".
 * Gotcha: it reads the sources, so type-only imports count too; the rules hold for types as well.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { root, sources, textOf } from './sources.js'

/** The floor of each folder. A lower floor may not import a higher one, nor folders of one floor each other. */
const FLOOR: Readonly<Record<string, number>> = {
  '.': 0,
  abi: 1,
  asm: 1,
  codec: 1,
  search: 1,
  kernel: 2,
  guest: 2,
  symbols: 3,
  protocol: 4,
  snapshot: 4,
  inspect: 4,
  supervisor: 4,
  toolstack: 5,
  index: 5,
  node: 5,
  live: 6,
  testing: 6,
  inspector: 6,
  runner: 6,
  suite: 7,
  cli: 8,
}
/** Imports allowed between folders of one floor, as `from->to`. */
const PEERS_ALLOWED: readonly string[] = []

/** The folders that need Node; everything else runs in any runtime. */
const NEEDS_NODE: readonly string[] = ['node', 'live', 'runner', 'cli']

/** The only files that may import a package. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  elfy: ['lib/kernel/elf.ts'],
  'buffer-layout': ['lib/abi/struct.ts'],
  'debug/src/common.js': ['lib/log.ts'],
  '@noble/hashes/sha2': ['lib/sha256.ts'],
  pako: ['lib/codec/gzip.ts'],
  koffi: ['lib/live/native.ts'],
}

const folderOf = (file: string): string => {
  const [, folder = '', rest] = file.split(path.sep)
  if (rest !== undefined) return folder
  return folder === 'index.ts' ? 'index' : '.'
}

function importsOf(file: string): string[] {
  const text = textOf(file)
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] as string)
}

t.test('imports go downwards', async (t) => {
  const wrong: string[] = []
  for (const file of sources('lib')) {
    const from = folderOf(file)
    t.ok(from in FLOOR, `${file} lies on a floor`)
    for (const specifier of importsOf(file).filter((s) => s.startsWith('.'))) {
      const to = folderOf(path.join(path.dirname(file), specifier.replace(/\.js$/, '.ts')))
      const downwards = (FLOOR[to] ?? 9) < (FLOOR[from] ?? 0)
      if (from !== to && !downwards && !PEERS_ALLOWED.includes(`${from}->${to}`))
        wrong.push(`${file} imports ${specifier}`)
    }
  }
  t.same(wrong, [])
})

t.test('each package has one door', async (t) => {
  const wrong: string[] = []
  for (const file of sources('lib')) {
    for (const specifier of importsOf(file)) {
      if (!/^[@a-z][\w@./-]*$/.test(specifier) || specifier.startsWith('xen-domain-builder')) continue
      if (!DOORS[specifier]?.includes(file)) wrong.push(`${file} imports ${specifier}`)
    }
  }
  t.same(wrong, [])
})

t.test('examples import the package by its name', async (t) => {
  // Xen's numbers and layouts are no exports of the package, so an example with a guest's code takes them from here.
  const wrong = sources('examples').flatMap((file) =>
    importsOf(file)
      .filter((specifier) => /^\.\.\/(?!lib\/abi\/)/.test(specifier))
      .map((specifier) => `${file} imports ${specifier}`),
  )
  t.same(wrong, [])
})

/** Globals of Node, and imports of its modules in any form. A method named `require` is allowed. */
const NODE =
  /\b(?:Buffer|setImmediate|createRequire|__dirname|__filename)\b|\bprocess[.?]|(?<!\.)\brequire\(\s*['"`]|['"`]node:/g

t.test('the core needs nothing of Node', async (t) => {
  const wrong = sources('lib')
    // This file alone checks whether it runs in Node; it works without the result.
    .filter((file) => !NEEDS_NODE.includes(folderOf(file)) && file !== 'lib/host.ts')
    .flatMap((file) => {
      const code = textOf(file).replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
      return [...code.matchAll(NODE)].map(([found]) => `${file}: ${found}`)
    })
  t.same(wrong, [])
})

/** Other allowed writers, each by its line: an output's bytes, and debug's lines, which log.ts made printable. */
const ALLOWED_TO_WRITE: Readonly<Record<string, RegExp>> = {
  'lib/cli/files.ts': /process\.stdout\.write\(chunk,/,
  'lib/log.ts': /console\.error\(\.\.\.line\)/,
}

t.test('nothing but the printer writes to standard output and standard error', async (t) => {
  const wrong = sources('lib').flatMap((file) => {
    const text = textOf(file).replace(/\/\*\*[\s\S]*?\*\//g, '')
    const allowed = ALLOWED_TO_WRITE[file]
    return text
      .split('\n')
      .filter((line) => /process\.std(?:out|err)|\bconsole\.\w+\(|\bstd(?:out|err)\b.*\bfrom\b/.test(line))
      .filter((line) => file !== 'lib/cli/printer.ts' && !allowed?.test(line))
      .map((line) => `${file}: ${line.trim()}`)
  })
  t.same(wrong, [])
})

t.test('every file opens with its purpose, source and gotcha', async (t) => {
  const wrong = sources('lib').filter((file) => {
    const head = textOf(file)
      .replace(/^#!.*\n/, '')
      .slice(0, 1500)
    return !head.startsWith('/**') || !head.includes('Source:') || !head.includes('Gotcha:')
  })
  t.same(wrong, [])
})

/** A name of a file of this repository; other projects' documents are not .md files in capitals, or in these folders. */
const OWN_FILE =
  /(?<![\w/.:-])(?:\.{1,2}\/[\w./-]+|(?:lib|test|bench|bundle|docs|examples)\/[\w./-]+\.(?:md|ts)|[A-Z]+\.md)(?<!\.)/g
/** A page of this repository, and the headings quoted after it. */
const QUOTED = new RegExp(`(${OWN_FILE.source})((?:,? \\(?(?:and )?"[^"]+"\\)?)+)`, 'g')

/** Returns the faults of a file's Source lines, each of which may name files of this repository and their headings. */
function faultsOfSources(file: string, text: string): string[] {
  const found: string[] = []
  for (const [, lines = ''] of text.matchAll(
    /^(?: \*|#) Source:([\s\S]*?)(?=^(?: \*|#) Gotcha:|^ \*\/|^(?: \*|#)?\s*$)/gm,
  )) {
    const source = lines.replace(/\n(?: \*|#)/g, '')
    const at = (name: string): string => path.join(root, name.startsWith('.') ? path.dirname(file) : '', name)
    for (const [name] of source.matchAll(OWN_FILE)) if (!existsSync(at(name))) found.push(`${file}: no ${name}`)
    for (const [, name = '', quotes = ''] of source.matchAll(QUOTED)) {
      if (!existsSync(at(name))) continue
      const headings = [...readFileSync(at(name), 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading)
      for (const [, quoted = ''] of quotes.matchAll(/"([^"]+)"/g)) {
        if (!headings.includes(quoted)) found.push(`${file}: ${name} has no heading "${quoted}"`)
      }
    }
  }
  return found
}

t.test('each Source line names a file and a heading that exist', async (t) => {
  const files = ['lib', 'test', 'bench', 'bundle', 'examples'].flatMap((folder) =>
    readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && /\.(?:ts|mjs|c|sh)$/.test(entry.name))
      .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name))),
  )
  const read = (file: string): string => readFileSync(path.join(root, file), 'utf8')
  t.same(
    files.flatMap((file) => faultsOfSources(file, read(file))),
    [],
  )
  const faults = (source: string): string[] => faultsOfSources('lib/units.ts', `/**\n * Source: ${source}\n */`)
  t.same(faults('ARCHITECTURE.md, "The floors"; docs/formats.md, "The raw format" and\n * "The qemu format".'), [])
  t.same(faults('ARCHITECTURE.md, "The\n * roofs".'), ['lib/units.ts: ARCHITECTURE.md has no heading "The roofs"'])
  t.same(faults('docs/none.md.'), ['lib/units.ts: no docs/none.md'])
  t.same(faults('./none.ts.'), ['lib/units.ts: no ./none.ts'])
})

t.test('the pages for contributors name files that exist', async (t) => {
  const wrong = ['ARCHITECTURE.md', 'CONTRIBUTING.md'].flatMap((page) =>
    [...readFileSync(path.join(root, page), 'utf8').matchAll(/`((?:lib|test|bench|bundle|docs)\/[\w./-]+)`/g)]
      .map(([, name = '']) => name)
      .filter((name) => !name.includes('<') && !existsSync(path.join(root, name)))
      .map((name) => `${page}: ${name}`),
  )
  t.same(wrong, [])
})

t.test('one helper skips what a machine cannot do, and no test decides for itself', async (t) => {
  const wrong = sources('test')
    .filter((file) => file !== 'test/peer/require-peer.ts' && file !== 'test/house.test.ts')
    .filter((file) => /process\.env\.CI\b|\bskip: (?!false)/.test(textOf(file)))
  t.same(wrong, [])
})
