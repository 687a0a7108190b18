/**
 * Runs one program under every runtime, bundled and not: all of them build the same guest.
 *
 * Source: https://esbuild.github.io, https://vite.dev, https://bun.sh, https://deno.com; npx brings the releases of
 * Node, Bun and Deno from the npm registry.
 * Gotcha: in a project within this one, files that were not packed would be found too.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { type BuildOptions, build } from 'esbuild'
import { chromium } from 'playwright-core'
import { type Test, test } from 'tap'
import { packInto } from '../docs/package.js'
import { findCommand } from '../peer/command.js'
import { impatientNpm } from '../peer/npm.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { program } from './program.js'

const BUN = 'bun@1.4.5'
const DENO = 'deno@2.9.6'

const dir = mkdtempSync(path.join(tmpdir(), 'xen-domain-builder-runtimes-'))
process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
const at = (...names: string[]): string => path.join(dir, ...names)

/** The project has the unpacked package and the program. Files that need no package are in a separate folder. */
const alone = mkdtempSync(path.join(tmpdir(), 'xen-domain-builder-alone-'))
process.once('exit', () => rmSync(alone, { recursive: true, force: true }))
const environment = Object.fromEntries(
  Object.entries(impatientNpm()).filter(([key]) => !/^(TAP|NODE_TEST|NODE_OPTIONS)/.test(key)),
)

function run(command: string, ...args: readonly string[]): string {
  const ran = spawnSync(command, args, { cwd: dir, encoding: 'utf8', env: environment, timeout: 300_000 })
  return ran.status === 0 ? ran.stdout : `${ran.stdout}${ran.stderr}${ran.error ?? ''}`
}

/** Whether npx can run a package, fetching it if needed. */
const findPackage = async (name: string) => {
  const ran = spawnSync('npx', ['-y', name, '--version'], {
    cwd: dir,
    encoding: 'utf8',
    env: environment,
    timeout: 300_000,
  })
  return ran.status === 0
    ? ({ found: name } as const)
    : ({ missing: `npx cannot fetch ${name}: ${ran.stderr.trim().split('\n')[0]}` } as const)
}

/** The output of the program in Node, unbundled, which every runtime must print. */
let expected = ''

test('Node runs it as it is', async (t) => {
  if (!(await requirePeer(t, () => findCommand('tar', 'tar')))) return
  spawnSync('tar', ['xzf', packInto(dir)], { cwd: dir })
  mkdirSync(at('node_modules'))
  cpSync(at('package'), at('node_modules/xen-domain-builder'), { recursive: true })
  const { version } = JSON.parse(readFileSync(at('package/package.json'), 'utf8')) as { version: string }
  const manifest = { type: 'module', dependencies: { 'xen-domain-builder': version } }
  writeFileSync(at('package.json'), JSON.stringify(manifest))
  writeFileSync(at('app.mjs'), await program())
  expected = run(process.execPath, 'app.mjs')
  const lines = expected.trim().split('\n')
  t.equal(lines.at(-1), 'done', expected)
  t.equal(lines.at(-2), 'true not-a-kernel')
  const guests = lines.slice(0, -3).map((line) => line.replace(/^\S+ /, ''))
  t.ok(guests.length > 1)
  t.same(new Set(guests).size, 1, 'the guest does not depend on how its kernel is compressed')
})

for (const release of ['22', '24']) {
  test(`Node ${release}`, async (t) => {
    if (!(await requirePeer(t, () => findPackage(`node@${release}`)))) return
    t.equal(run('npx', '-y', `node@${release}`, 'app.mjs'), expected)
  })
}

/** Bundles the program with esbuild; a warning fails the test. */
async function bundle(t: Test, outfile: string, options: BuildOptions): Promise<void> {
  const { warnings } = await build({
    absWorkingDir: dir,
    entryPoints: ['app.mjs'],
    bundle: true,
    logLevel: 'silent',
    outfile,
    ...options,
  })
  t.same(warnings, [])
}

test('esbuild, for Node', async (t) => {
  for (const format of ['esm', 'cjs'] as const) {
    const file = path.join(alone, format === 'esm' ? 'esm.mjs' : 'cjs.cjs')
    await bundle(t, file, { platform: 'node', format })
    t.equal(run(process.execPath, file), expected, format)
  }
})

test('Bun', async (t) => {
  if (!(await requirePeer(t, () => findPackage(BUN)))) return
  t.equal(run('npx', '-y', BUN, 'run', 'app.mjs'), expected)
  const compiled = path.join(alone, 'compiled')
  const built = run('npx', '-y', BUN, 'build', '--compile', 'app.mjs', '--outfile', compiled)
  t.equal(run(compiled), expected, `compiled: ${built}`)
})

test('Deno, which asks for no permission', async (t) => {
  if (!(await requirePeer(t, () => findPackage(DENO)))) return
  const ran = run('npx', '-y', DENO, 'run', '--no-prompt', '--node-modules-dir=manual', 'app.mjs')
  t.equal(ran, expected)
})

/** Returns the console output of a page whose files are in a folder. */
async function inChromium(folder: string): Promise<string> {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-sync'],
  })
  try {
    const page = await browser.newPage()
    let said = ''
    const done = new Promise<void>((resolve) => {
      page.on('console', (message) => {
        said += `${message.text()}\n`
        if (message.text() === 'done' || message.type() === 'error') resolve()
      })
      page.on('pageerror', (error) => {
        said += `${error}\n`
        resolve()
      })
    })
    const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' }
    // Not over the network: the name localhost only makes its pages secure contexts.
    await page.route('**/*', (route) => {
      const name = new URL(route.request().url()).pathname.slice(1) || 'index.html'
      if (name === 'favicon.ico') return route.fulfill({ status: 204 })
      const file = path.join(folder, name)
      return route.fulfill({ body: readFileSync(file), contentType: TYPES[path.extname(name)] ?? 'text/plain' })
    })
    await page.goto('http://localhost/')
    await done
    return said
  } finally {
    await browser.close()
  }
}

const PAGE = '<!doctype html><title>guest</title><script type="module" src="./app.js"></script>'

test('esbuild, in Chromium', async (t) => {
  if (!(await requirePeer(t, () => findCommand('chromium', 'chromium')))) return
  const folder = path.join(alone, 'esbuild')
  mkdirSync(folder)
  writeFileSync(path.join(folder, 'index.html'), PAGE)
  await bundle(t, path.join(folder, 'app.js'), { platform: 'browser', format: 'esm' })
  t.equal(await inChromium(folder), expected)
})

test('Vite', async (t) => {
  const folder = path.join(alone, 'vite')
  writeFileSync(at('index.html'), PAGE.replace('./app.js', './app.mjs'))
  const vite = path.join(projectRoot, 'node_modules/vite/bin/vite.js')
  const built = run(process.execPath, vite, 'build', '--outDir', folder, '--emptyOutDir', '--logLevel', 'warn')
  t.equal(built, '', 'no warning')
  const [script = ''] = readdirSync(path.join(folder, 'assets'))
  t.notMatch(readFileSync(path.join(folder, 'assets', script), 'utf8'), /__vite-browser-external/)
  await t.test('in Chromium', async (t) => {
    if (!(await requirePeer(t, () => findCommand('chromium', 'chromium')))) return
    t.equal(await inChromium(folder), expected)
  })
})
