/** Types README.md as a newcomer does: from a clean checkout to each of the three results. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { findKernel } from '../peer/kernels.js'
import { copyCheckout, projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { findRegistry } from './package.js'
import { checkPage, checkTypes, isKernelOfThePages, readPage } from './page.js'
import { isShown } from './shown.js'

t.test('README.md, from a clean checkout', async (t) => {
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined || (await requirePeer(t, findRegistry)) === undefined) return
  const directory = mkdtempSync(join(tmpdir(), 'xen-domain-builder-readme-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const guests = join(directory, 'guests')
  mkdirSync(guests)
  cpSync(vmlinuz, join(guests, 'vmlinuz'))
  copyCheckout(join(directory, 'xen-domain-builder'))
  checkTypes(t, guests, checkPage(t, 'README.md', guests, directory))

  const drawn = readFileSync(join(guests, 'guest.svg'), 'utf8')
  if (process.env.DOCS_WRITE === '1') writeFileSync(join(projectRoot, 'docs/guest.svg'), drawn)
  const picture = readPage('docs/guest.svg').split('\n').slice(0, -1)
  t.ok(isShown(picture, drawn, isKernelOfThePages()), 'docs/guest.svg is what its command draws')
})
