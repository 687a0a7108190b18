/**
 * Reads a kernel several times, keeps each, and reports on stdout the bytes of address space that they took.
 *
 * Source: VmSize in /proc/self/status, proc_pid_status(5).
 * Gotcha: memory that nothing keeps is freed by a later turn than the collection. Needs --expose-gc.
 */
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { type Kernel, readKernel } from '../../lib/index.js'

const [file = '', count = ''] = process.argv.slice(2)
const addresses = (): number =>
  1024 * Number(/VmSize:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1])

/** The address space after a collection. */
async function settled(): Promise<number> {
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.()
    await setTimeout(20)
  }
  return addresses()
}

const bytes = readFileSync(file)
await readKernel(bytes)
const before = await settled()
const kept: Kernel[] = []
while (kept.length < Number(count)) kept.push(await readKernel(bytes))
process.stdout.write(String((await settled()) - before))
if (kept.some(({ elf }) => elf === undefined)) process.exitCode = 1
