/** Types each guide from its first line to its last, in a folder with the package and the files that it names. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t from 'tap'
import { patternBytes } from '../../lib/testing/index.js'
import { findKernel } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { findRegistry } from './package.js'
import { checkPage, checkTypes, projectIn } from './page.js'
import { findNeeds, pagesOf } from './pages.js'

const only = process.env.DOCS_ONLY
const GUIDES = pagesOf('test/docs/guides.long.ts')

t.test('the guides', async (t) => {
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined || (await requirePeer(t, findRegistry)) === undefined) return
  const directory = mkdtempSync(join(tmpdir(), 'xen-domain-builder-guides-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  symlinkSync(projectRoot, join(directory, 'xen-domain-builder'))
  const project = projectIn(join(directory, 'project'), vmlinuz)
  writeFileSync(join(project, 'initrd.img'), patternBytes(1 << 20))
  const programs: string[] = []
  for (const guide of GUIDES.filter((name) => only === undefined || name.includes(only))) {
    await t.test(guide, async (t) => {
      if ((await requirePeer(t, () => findNeeds(guide))) === undefined) return
      const folder = join(directory, basename(guide))
      mkdirSync(folder)
      for (const file of ['package.json', 'vmlinuz', 'initrd.img'])
        copyFileSync(join(project, file), join(folder, file))
      symlinkSync(join(project, 'node_modules'), join(folder, 'node_modules'))
      programs.push(...checkPage(t, guide, folder).map((name) => join(folder, name)))
    })
  }
  checkTypes(t, directory, programs)
})
