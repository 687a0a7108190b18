/** Types docs/running.md from its first line to its last; its guests run, with a ramdisk that reports their state. */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { findRegistry } from '../docs/package.js'
import { checkPage, checkTypes, projectIn } from '../docs/page.js'
import { findNeeds } from '../docs/pages.js'
import { findKernel } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu } from './harness.js'
import { findBusybox, ramdiskFile } from './ramdisk.js'

t.test('docs/running.md', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const busybox = await requirePeer(t, () => findBusybox('amd64'))
  if (busybox === undefined) return
  if ((await requirePeer(t, () => findNeeds('docs/running.md'))) === undefined) return
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined || (await requirePeer(t, findRegistry)) === undefined) return
  const directory = mkdtempSync(join(tmpdir(), 'xen-domain-builder-running-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  symlinkSync(projectRoot, join(directory, 'xen-domain-builder'))
  const project = projectIn(join(directory, 'project'), vmlinuz)
  ramdiskFile(busybox, join(project, 'initrd.img'))
  checkTypes(t, project, checkPage(t, 'docs/running.md', project))
})
