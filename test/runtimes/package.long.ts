/**
 * Tests the package as npm packs it: its files, its size, the cost of importing it, and its use in a fresh TypeScript
 * project of each module resolution, and from CommonJS.
 *
 * Source: https://www.typescriptlang.org/docs/handbook/modules/reference.html; https://nodejs.org/api/packages.html.
 * The budgets are in ../../bench/budgets.json.
 * Gotcha: in a project within this one, files that were not packed would be found too.
 */
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { type Test, test } from 'tap'
import { findNode, packInto } from '../docs/package.js'
import { findCommand } from '../peer/command.js'
import { npmEnvironment } from '../peer/npm.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'

const dir = realpathSync(mkdtempSync(join(tmpdir(), 'xen-domain-builder-package-')))
process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
const run = (command: string, ...args: readonly string[]) => spawnSync(command, args, { cwd: dir, encoding: 'utf8' })

const read = (...path: readonly string[]): string => readFileSync(join(...path), 'utf8')

/** Returns the files below a folder, sorted. */
const below = (root: string, folder = '.'): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort()

/** The unpacked package, where it is installed. */
const installed = join(dir, 'node_modules/xen-domain-builder')

/** The entry points with code, and the command, by their files in the package. */
const ENTRIES: Readonly<Record<string, string>> = {
  'xen-domain-builder': 'dist/package/index.js',
  'xen-domain-builder/node': 'dist/package/node/index.js',
  'xen-domain-builder/live': 'dist/package/live/index.js',
  'xen-domain-builder/runner': 'dist/package/runner/index.js',
  'xen-domain-builder/testing': 'dist/package/testing/index.js',
  'xdb --help': 'dist/package/cli/main.js',
}

interface Budgets {
  readonly package: { readonly packed: number; readonly unpacked: number; readonly files: number }
  readonly entries: Readonly<
    Record<string, { readonly file: number; readonly loaded: number; readonly modules: number }>
  >
}
const budgets = JSON.parse(read(projectRoot, 'bench/budgets.json')) as Budgets

/** Compares each figure with its budget, by name. */
function checkBudget(t: Test, name: string, figures: Readonly<Record<string, number>>, most: object | undefined): void {
  for (const [figure, value] of Object.entries(figures)) {
    const budget = (most as Readonly<Record<string, number>> | undefined)?.[figure] ?? 0
    t.ok(value <= budget, `${name}: ${figure} ${value}, at most ${budget} (bench/budgets.json)`)
  }
}

const PROGRAM = `import { buildDomain, DomainBuilderError, readKernel, readStartInfo, type Domain } from 'xen-domain-builder'
import { assertStartInfo, buildElf, xenNotes } from 'xen-domain-builder/testing'
async function main(): Promise<void> {
  const notes = xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: 0xffffffff80000000n })
  const segments = [{ paddr: 0x100000, vaddr: 0xffffffff80100000n, data: new Uint8Array(64).fill(0x90) }]
  const image: Uint8Array = buildElf({ class: 64, entry: 0xffffffff80100000n, segments, notes })
  const guest: Domain = buildDomain(await readKernel(image), { type: 'pv', memory: 32 * 2 ** 20 })
  assertStartInfo(guest, { nr_pages: 0x2000n })
  try {
    xenNotes({}) && buildElf({ class: 64, entry: 0, segments: [], notes: [{ type: 'ENTRY', desc: -1 }] })
  } catch (error) {
    console.log(error instanceof DomainBuilderError, readStartInfo(guest).nr_pages)
  }
}
main()
`

const tarball = packInto(dir)

test('npm pack, unpacked, is used under each module resolution', async (t) => {
  if (!(await requirePeer(t, () => findCommand('tar', 'tar')))) return
  t.equal(run('tar', 'xzf', tarball).status, 0)
  mkdirSync(join(dir, 'node_modules'))
  cpSync(join(dir, 'package'), installed, { recursive: true })
  for (const name of ['elfy', 'endian-reader', 'buffer-layout', 'debug', 'ms', '@types', 'undici-types']) {
    symlinkSync(join(projectRoot, 'node_modules', name), join(dir, 'node_modules', name))
  }
  const tsc = join(projectRoot, 'node_modules/typescript/bin/tsc')
  const common = ['--strict', '--target', 'es2022', '--types', 'node', '--outDir']
  for (const [out, type, module, resolution] of [
    ['nodenext', 'module', 'nodenext', 'nodenext'],
    ['node16', 'module', 'node16', 'node16'],
    ['bundler', 'module', 'esnext', 'bundler'],
    ['require', 'commonjs', 'nodenext', 'nodenext'],
  ] as const) {
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ type }))
    writeFileSync(join(dir, 'use.ts'), PROGRAM)
    const built = run(
      process.execPath,
      tsc,
      ...common,
      out,
      '--module',
      module,
      '--moduleResolution',
      resolution,
      'use.ts',
    )
    t.equal(built.stdout, '', `${out}: no complaint of tsc`)
    if (type === 'commonjs') t.match(readFileSync(join(dir, out, 'use.js'), 'utf8'), /require\("xen-domain-builder"\)/)
    const used = run(process.execPath, join(out, 'use.js'))
    t.equal(used.stdout, 'true 8192n\n', `${out}: it runs ${used.stderr.split('\n')[0]}`)
  }
  const dynamic = run(process.execPath, '-e', "import('xen-domain-builder').then((m) => console.log(m.PAGE_SIZE))")
  t.equal(dynamic.stdout, '4096\n')
  const command = run(process.execPath, 'node_modules/xen-domain-builder/dist/package/cli/main.js', '--version')
  t.match(command.stdout, /^\d+\.\d+\.\d+\n$/)
})

/** Names of imported modules. */
const importsOf = (text: string): string[] =>
  [...text.matchAll(/(?<![.\w])(?:from|import|require)\s?\(?"([^"]+)"/g)].map(([, of = '']) => of)

test('the package has the intended files, and no other', async (t) => {
  const files = below(installed)
  const sources = ['docs', 'lib', 'schemas'].flatMap((folder) => below(projectRoot, folder))
  t.same(
    sources.filter((file) => !/^(?:lib\/.+\.(?:ts|md)|docs\/[^/]+\.(?:md|svg|png)|schemas\/[^/]+\.json)$/.test(file)),
    [],
  )
  const declared = sources.filter((file) => /^lib\/.*\.ts$/.test(file) && !file.endsWith('.d.ts'))
  const reached = new Set(Object.values(ENTRIES))
  // A set yields what is added meanwhile too.
  for (const file of reached) {
    for (const of of importsOf(read(installed, file))) if (of.startsWith('.')) reached.add(join(dirname(file), of))
  }
  const expected = [
    ...['ARCHITECTURE.md', 'CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'],
    ...sources,
    ...declared.map((file) => `dist/${file}`.replace(/\.ts$/, '.d.ts')).flatMap((file) => [file, `${file}.map`]),
    ...['xdb', 'xen-domain-builder'].map((name) => `dist/man/${name}.1`),
    ...['THIRD-PARTY-LICENSES.md', 'sbom.cdx.json'].map((name) => `dist/package/${name}`),
    ...[...reached].flatMap((file) => [file, `${file}.map`]),
  ]
  t.same(files, expected.sort())
  t.ok(statSync(join(dir, 'package', ENTRIES['xdb --help'] ?? '')).mode & 0o100, 'the command is executable')
})

test('no file depends on the place where it was made', async (t) => {
  const files = below(installed, 'dist')
  t.same(
    files.filter((file) => read(installed, file).includes(projectRoot)),
    [],
  )
  const wrong = files
    .filter((file) => file.endsWith('.js.map'))
    .flatMap((file) => {
      const { sources } = JSON.parse(read(installed, file)) as { sources: string[] }
      return sources
        .map((source) => join(dirname(file), source))
        .filter((source) => !/^(?:node_modules|lib|bundle|dist\/lib)\//.test(source))
        .map((source) => `${file}: ${source}`)
    })
  t.same(wrong, [])
})

test('the package is within its budget', async (t) => {
  const files = below(installed)
  const unpacked = files.reduce((sum, file) => sum + statSync(join(installed, file)).size, 0)
  checkBudget(t, 'package', { packed: statSync(tarball).size, unpacked, files: files.length }, budgets.package)
})

for (const [name, file] of Object.entries(ENTRIES)) {
  test(`${name} is within its budget`, async (t) => {
    const main = join(installed, file)
    const command = name === 'xdb --help' ? [main, '--help'] : ['--input-type=module', '-e', `import '${name}'`]
    const preload = join(projectRoot, 'dist/test/fixtures/loaded-modules.js')
    // tap adds a preload to the environment of each child.
    const node = ['-u', 'NODE_OPTIONS', process.execPath, '--import', preload]
    const { status, stderr, output } = spawnSync('env', [...node, ...command], {
      cwd: dir,
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    })
    t.equal(status, 0, stderr)
    const modules = JSON.parse(output[3] ?? '[]') as string[]
    t.ok(modules.includes(main), 'it is loaded')
    t.same(
      modules.filter((module) => !module.startsWith(`${installed}/`)),
      [],
      'no other package is loaded',
    )
    const loaded = modules.reduce((sum, module) => sum + statSync(module).size, 0)
    checkBudget(t, name, { file: statSync(main).size, loaded, modules: modules.length }, budgets.entries[name])
  })
}

test('the library asks for no module', async (t) => {
  const own = importsOf(read(installed, ENTRIES['xen-domain-builder'] ?? ''))
  const shared = own.flatMap((of) => importsOf(read(installed, 'dist/package', of)))
  t.same(
    [...own, ...shared].filter((of) => !of.startsWith('./')),
    [],
  )
})

test('nothing that npm installs by default has an install script', async (t) => {
  const { components } = JSON.parse(read(installed, 'dist/package/sbom.cdx.json')) as {
    components: { name: string; scope: string }[]
  }
  const { packages } = JSON.parse(read(projectRoot, 'package-lock.json')) as {
    packages: Record<string, { hasInstallScript?: boolean }>
  }
  const required = components.filter(({ scope }) => scope === 'required').map(({ name }) => `node_modules/${name}`)
  t.ok(required.length >= 7, required.join(' '))
  for (const folder of [installed, ...required.map((name) => join(projectRoot, name))]) {
    const { scripts = {}, name } = JSON.parse(read(folder, 'package.json')) as { scripts?: object; name: string }
    const run = Object.keys(scripts).filter((script) => /^(?:(?:pre|post)?install|(?:pre|post)?prepare)$/.test(script))
    // A package of the registry is not prepared, except when its own repository is installed.
    t.same(folder === installed ? run : run.filter((script) => script.includes('install')), [], name)
    t.notOk(readdirSync(folder).includes('binding.gyp'), `${name}: npm would run node-gyp`)
  }
  t.same(
    required.filter((folder) => packages[folder]?.hasInstallScript),
    [],
  )
  const { peerDependencies, peerDependenciesMeta } = JSON.parse(read(installed, 'package.json')) as {
    peerDependencies: Record<string, string>
    peerDependenciesMeta: Record<string, { optional?: boolean }>
  }
  t.same(
    Object.keys(peerDependencies).filter((name) => peerDependenciesMeta[name]?.optional !== true),
    [],
  )
})

test('publint has nothing to say', async (t) => {
  const { stdout, status } = spawnSync(
    process.execPath,
    ['node_modules/publint/src/cli.js', '--strict', '--pack', 'npm'],
    {
      cwd: projectRoot,
      encoding: 'utf8',
      env: { ...npmEnvironment(), npm_config_ignore_scripts: 'true' },
    },
  )
  t.equal(status, 0, stdout)
})

for (const major of [22, 24]) {
  test(`it works under Node ${major}`, async (t) => {
    const node = await requirePeer(t, () => findNode(major))
    if (node === undefined) return
    const used = run(node, join(dir, 'require/use.js'))
    t.equal(used.stdout, 'true 8192n\n', `it runs ${used.stderr.split('\n')[0]}`)
  })
}
