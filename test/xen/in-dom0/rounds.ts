/**
 * rounds.mjs KERNEL TYPE COUNT: makes a guest and destroys it, so many times, in one process.
 *
 * Source: our own.
 * Gotcha: the guest runs a moment before each end, so xenconsoled and xenstored have seen it.
 */
import { readFileSync } from 'node:fs'
import { readKernel } from 'xen-domain-builder'
import { launch, openXen } from 'xen-domain-builder/live'

const [, , name = '', type = '', count = ''] = process.argv
const kernel = await readKernel(readFileSync(name))
const xen = await openXen()
/** A destroyed domain is there until xenstored and xenconsoled have let its pages go. */
const domains = async () => (await xen.listDomains()).filter(({ dying }) => !dying).length
const before = await domains()
const begun = performance.now()
for (let i = 0; i < Number(count); i++) {
  const guest = await launch(xen, kernel, {
    type: type === 'pvh' ? 'pvh' : 'pv',
    memory: 32 * 2 ** 20,
    name: `round${i}`,
  })
  await guest.destroy()
}
const seconds = (performance.now() - begun) / 1000
console.log(`${count} rounds of ${type}, ${(seconds / Number(count)).toFixed(2)} s each`)
console.log(`domains: ${before} before, ${await domains()} after`)
await xen.close()
