/**
 * Tests the package as npm packs it, in a fresh TypeScript project of each module resolution, and from CommonJS.
 *
 * Source: https://www.typescriptlang.org/docs/handbook/modules/reference.html; https://nodejs.org/api/packages.html.
 * Gotcha: in a project within this one, files that were not packed would be found too.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'tap'
import { findNode, packInto } from './docs/package.js'
import { findCommand } from './peer/command.js'
import { npmEnvironment } from './peer/npm.js'
import { projectRoot } from './peer/paths.js'
import { requirePeer } from './peer/require-peer.js'

const dir = mkdtempSync(join(tmpdir(), 'xen-domain-builder-package-'))
process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
const run = (command: string, ...args: readonly string[]) => spawnSync(command, args, { cwd: dir, encoding: 'utf8' })

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

test('npm pack, unpacked, is used under each module resolution', async (t) => {
  if (!(await requirePeer(t, () => findCommand('tar', 'tar')))) return
  t.equal(run('tar', 'xzf', packInto(dir)).status, 0)
  mkdirSync(join(dir, 'node_modules'))
  cpSync(join(dir, 'package'), join(dir, 'node_modules/xen-domain-builder'), { recursive: true })
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

test('importing the library opens two files, and asks for no module', async (t) => {
  const importsOf = (file: string) =>
    [
      ...readFileSync(join(projectRoot, 'dist/package', file), 'utf8').matchAll(
        /(?<![.\w])(?:from|import|require\() ?"([^"]+)"/g,
      ),
    ].map(([, of = '']) => of)
  const shared = importsOf('index.js').map((of) => of.slice(2))
  t.equal(shared.length, 1)
  t.same(
    shared.flatMap(importsOf).filter((of) => !shared.includes(`shared/${of.slice(2)}`)),
    [],
  )
  const more = importsOf('testing/index.js')
    .map((of) => of.slice(3))
    .filter((of) => !shared.includes(of))
  t.ok(more.length <= 3, `testing opens ${more.length} more: what live and runner share with it`)
})

test('--help opens what all commands share, and no command', async (t) => {
  const seen = new Map<string, number>()
  const visit = (file: string): void => {
    if (seen.has(file)) return
    const text = readFileSync(file, 'utf8')
    seen.set(file, text.length)
    for (const [, of = ''] of text.matchAll(/^(?:(?:import|export)[^;]*? from|import) "(\.[^"]+)";$/gm)) {
      visit(join(dirname(file), of))
    }
  }
  visit(join(projectRoot, 'dist/package/cli/main.js'))
  const bytes = [...seen.values()].reduce((sum, length) => sum + length, 0)
  t.ok(seen.size > 1 && bytes < 40_000, `${seen.size} files, ${bytes} characters`)
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
