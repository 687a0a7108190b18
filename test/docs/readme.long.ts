/**
 * Types README.md as a newcomer does: from a clean checkout to each of the three results. The package that the newcomer
 * packs equals the one of this checkout, which the tests have tested.
 *
 * Source: npm-pack(1).
 * Gotcha: the newcomer has all that might change a package: a space in the path, an old build, another umask and time zone.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import { findKernel } from '../peer/kernels.js'
import { copyCheckout, projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { findRegistry, packInto } from './package.js'
import { checkPage, checkTypes, isKernelOfThePages, readPage } from './page.js'
import { isShown } from './shown.js'

t.test('README.md, from a clean checkout', async (t) => {
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined || (await requirePeer(t, findRegistry)) === undefined) return
  const directory = mkdtempSync(join(tmpdir(), 'xen-domain-builder readme-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const guests = join(directory, 'guests')
  mkdirSync(guests)
  cpSync(vmlinuz, join(guests, 'vmlinuz'))
  const checkout = join(directory, 'xen-domain-builder')
  copyCheckout(checkout)
  const given = join(guests, 'given.tgz')
  const packed = packInto(directory)
  renameSync(packed, given)

  for (const stale of [
    'dist/lib/old.d.ts',
    'dist/lib/guest/old.d.ts.map',
    'dist/man/old.1',
    'dist/package/cli/old.js',
  ]) {
    mkdirSync(dirname(join(checkout, stale)), { recursive: true })
    writeFileSync(join(checkout, stale), '')
  }
  t.equal(spawnSync('chmod', ['-R', 'go=', checkout]).status, 0)
  const umask = process.umask(0o077)
  process.env.TZ = 'Asia/Kathmandu'
  t.teardown(() => process.umask(umask))
  checkTypes(t, guests, checkPage(t, 'README.md', guests, directory))
  t.ok(readFileSync(given).equals(readFileSync(join(checkout, basename(packed)))), 'both packages have the same bytes')

  const drawn = readFileSync(join(guests, 'guest.svg'), 'utf8')
  if (process.env.DOCS_WRITE === '1') writeFileSync(join(projectRoot, 'docs/guest.svg'), drawn)
  const picture = readPage('docs/guest.svg').split('\n').slice(0, -1)
  t.ok(isShown(picture, drawn, isKernelOfThePages()), 'docs/guest.svg is what its command draws')
})
