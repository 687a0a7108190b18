/**
 * create.mjs CFG: makes the guest of an xl.cfg on this Xen, and waits for its end.
 *
 * Source: our own; it says the seconds from each call to its answer, and the guest's end.
 * Gotcha: the paths of the file are relative to the working directory.
 */
import { readFileSync } from 'node:fs'
import { readKernel, readXlCfg } from 'xen-domain-builder'
import { launch, openXen } from 'xen-domain-builder/live'

/** Says how long it took. */
async function timed<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  const begun = performance.now()
  const result = await work()
  console.log(`${what} in ${((performance.now() - begun) / 1000).toFixed(2)} s`)
  return result
}

const { kernel: name = '', ramdisk, config } = readXlCfg(readFileSync(process.argv[2] ?? '', 'utf8'))
const kernel = await timed('kernel read', () => readKernel(readFileSync(name)))
const xen = await timed('Xen opened', openXen)
const modules = ramdisk === undefined ? [] : readFileSync(ramdisk)
const guest = await timed('launched', () =>
  launch(
    xen,
    kernel,
    { memory: 128 * 2 ** 20, ...config, ramdisk: modules },
    {
      onProgress({ step, done, total }) {
        if (done === 0 || done === total)
          console.log(`${step} ${done} of ${total} at ${performance.now().toFixed()} ms`)
      },
    },
  ),
)
console.log(`domain ${guest.domid}`)
const { reason, action } = await guest.ended()
console.log(`ended: ${reason}, ${action}`)
await xen.close()
