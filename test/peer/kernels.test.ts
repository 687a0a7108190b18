/**
 * Checks the fetched kernels against their packages, by version and never by a stored hash.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (kernel_version), Debian's own version string in it.
 * Gotcha: one number is not enough: a package's name holds the ABI (6.1.0-56), its version the upload (6.1.192-2). The
 * kernel names both.
 */
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { fetchedKernels, findKernel, KERNEL_NAMES, type KernelName } from './kernels.js'
import { requirePeer } from './require-peer.js'

/** Returns the version text to which a Linux setup header points. */
function kernelVersion(bzImage: Buffer): string {
  const at = bzImage.readUInt16LE(0x20e) + 0x200
  return bzImage.toString('latin1', at, bzImage.indexOf(0, at))
}

t.test('every kernel of the table is there', async (t) => {
  for (const name of KERNEL_NAMES) {
    await t.test(name, async (t) => {
      const path = await requirePeer(t, () => findKernel(name))
      if (path) t.ok((await readFile(path)).length > 0)
    })
  }
})

const DEBIAN: readonly KernelName[] = ['debian-amd64', 'debian-cloud-amd64', 'debian-rt-amd64', 'debian-686-pae']
for (const name of DEBIAN) {
  t.test(`${name} is the kernel its package says`, async (t) => {
    const path = await requirePeer(t, () => findKernel(name))
    if (!path) return
    const origin = fetchedKernels().find((k) => k.name === name)
    const version = kernelVersion(await readFile(path))
    t.equal(`vmlinuz-${version.split(' ')[0]}`, origin?.file, 'the file is named after its release')
    t.match(version, ` Debian ${origin?.version} `, "the upload is the package's")
  })
}
