/**
 * Tests of the man page: it is current, has no fault that mandoc reports, and man can read it.
 *
 * Source: mandoc(1), "-T lint"; man(1) of man-db.
 * Gotcha: .so is resolved from the root of a tree of pages, so the short name is read from a tree, as npm installs it.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { loadCommands } from '../lib/cli/commands.js'
import { COMMON } from '../lib/cli/program.js'
import { manPage } from '../man/page.js'
import { findCommand } from './peer/command.js'
import { npmEnvironment } from './peer/npm.js'
import { projectRoot } from './peer/paths.js'
import { requirePeer } from './peer/require-peer.js'

const manifest = JSON.parse(readFileSync(path.join(projectRoot, 'package.json'), 'utf8')) as {
  version: string
  man: string[]
}
const pages = manifest.man.map((name) => path.join(projectRoot, name))
const [page = ''] = pages

t.test('what the package holds is made of the options that there are now', async (t) => {
  t.equal(readFileSync(page, 'utf8'), manPage(await loadCommands(), manifest.version))
  const packed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: projectRoot,
    env: npmEnvironment(),
  })
  const [{ files }] = JSON.parse(packed.toString()) as [{ files: { path: string }[] }]
  for (const name of manifest.man)
    t.ok(
      files.some((file) => `./${file.path}` === name),
      `${name} is packed`,
    )
})

t.test('mandoc has nothing to say', async (t) => {
  const mandoc = await requirePeer(t, () => findCommand('mandoc', 'mandoc'))
  if (mandoc) t.equal(spawnSync(mandoc, ['-T', 'lint', '-W', 'warning', page], { encoding: 'utf8' }).stdout, '')
})

t.test('man shows every command and option, in 80 columns, under both names', async (t) => {
  const man = await requirePeer(t, () => findCommand('man', 'man-db'))
  if (!man) return
  const tree = mkdtempSync(path.join(tmpdir(), 'xdb-man-'))
  t.teardown(() => rmSync(tree, { recursive: true, force: true }))
  mkdirSync(path.join(tree, 'man1'))
  for (const file of pages) symlinkSync(file, path.join(tree, 'man1', path.basename(file)))
  const [text = '', short] = ['xen-domain-builder', 'xdb'].map((name) => {
    const env = { ...process.env, MANWIDTH: '80', MANPAGER: 'cat', LC_ALL: 'C.UTF-8' }
    const ran = spawnSync(man, ['-M', tree, name], { env, encoding: 'utf8' })
    t.equal(ran.stderr, '')
    return ran.stdout.replace(/.[\b]/g, '')
  })
  t.equal(short, text)
  for (const line of text.split('\n')) t.ok(line.length <= 80, line)
  t.notMatch(text, /\\[-ef(]/, 'no typesetting is left')
  for (const { name, command } of await loadCommands()) {
    const start = text.indexOf(`\n   ${name}\n`)
    t.ok(start > 0, name)
    const section = text.slice(start, text.slice(start + 4).search(/\n( {3})?[a-zA-Z]/) + start + 4)
    t.match(section, `xdb ${name}`)
    for (const option of Object.keys(command.options)) t.match(section, new RegExp(`^ {7}(-\\w, )?--${option}\\b`, 'm'))
  }
  for (const option of Object.keys(COMMON)) t.match(text, new RegExp(`^ {7}(-\\w, )?--${option}\\b`, 'm'))
  for (const heading of [
    'NAME',
    'SYNOPSIS',
    'DESCRIPTION',
    'EXIT STATUS',
    'JSON',
    'ENVIRONMENT',
    'FILES',
    'EXAMPLES',
    'SEE ALSO',
  ])
    t.match(text, new RegExp(`^${heading}$`, 'm'))
})
