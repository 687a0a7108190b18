/**
 * killed.mjs KERNEL TYPE SIGNAL COUNT LAST: launches in processes that get a signal, each at another call to this Xen,
 * from the first one to LAST. Calls within a transaction do not count.
 *
 * Source: our own; faults.mjs is the process.
 * Gotcha: SIGKILL leaves what was made until then; the next launch, of this process, removes it.
 */
import { spawnSync } from 'node:child_process'
import { openXen, removeHalfMade } from 'xen-domain-builder/live'

const [, , name = '', type = '', signal = '', count = '', last = ''] = process.argv
const xen = await openXen()
const left: string[] = []
let removed = 0
for (let i = 0; i < Number(count); i++) {
  const at = Math.round(1 + (i * (Number(last) - 1)) / (Number(count) - 1))
  const ran = spawnSync('node', ['faults.mjs', name, type, signal, String(at)], { encoding: 'utf8' })
  if (ran.signal !== signal) left.push(`call ${at}: ended by ${ran.signal ?? `status ${ran.status}`}: ${ran.stderr}`)
  if (signal === 'SIGKILL') removed += (await removeHalfMade(xen)).length
  const domains = (await xen.listDomains()).filter(({ domid, dying }) => domid !== 0 && !dying)
  const nodes = await xen.store.list('/tool/xen-domain-builder')
  if (domains.length + nodes.length > 0) left.push(`call ${at}: ${domains.length} domains, ${nodes.length} notes`)
}
console.log(`${count} processes of ${type} ended by ${signal}, ${removed} domains removed afterwards`)
console.log(`left: ${left.join('; ') || 'nothing'}`)
await xen.close()
