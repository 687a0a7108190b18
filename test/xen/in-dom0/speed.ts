/**
 * speed.mjs CFG COUNT: makes the guest of an xl.cfg so many times, and says how long each launch takes.
 *
 * Source: our own.
 * Gotcha: the first launch of a process also compiles the library's code, which the later ones find compiled. Xen clears
 * the pages of a domain that has ended while it is idle; a launch right afterwards would wait for them.
 */
import { readFileSync } from 'node:fs'
import { readKernel, readXlCfg } from 'xen-domain-builder'
import { launch, openXen } from 'xen-domain-builder/live'

const { kernel: name = '', ramdisk, config } = readXlCfg(readFileSync(process.argv[2] ?? '', 'utf8'))
const kernel = await readKernel(readFileSync(name))
const modules = ramdisk === undefined ? [] : readFileSync(ramdisk)
const xen = await openXen()
for (let i = 0; i < Number(process.argv[3]); i++) {
  await new Promise((resolve) => setTimeout(resolve, 3000))
  const begun = performance.now()
  const guest = await launch(xen, kernel, { memory: 128 * 2 ** 20, ...config, ramdisk: modules })
  console.log(`launched in ${(performance.now() - begun).toFixed()} ms`)
  await guest.destroy()
}
await xen.close()
