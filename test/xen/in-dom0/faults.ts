/**
 * Launches that fail at one of their calls to this Xen, and must leave nothing.
 *
 *     faults.mjs KERNEL TYPE             an error in place of each call, one launch for each
 *     faults.mjs KERNEL TYPE SIGNAL N    this process gets a signal at call N
 *
 * Source: our own.
 * Gotcha: a handler of the signal runs in a later turn of the event loop, so call N itself is still made.
 */
import { readFileSync } from 'node:fs'
import { readKernel } from 'xen-domain-builder'
import { type Hypervisor, type LiveDomain, launch, openXen } from 'xen-domain-builder/live'

const [, , name = '', type = '', signal, at = ''] = process.argv
const kernel = await readKernel(readFileSync(name))
const xen = await openXen()

/** Returns the same object, which says each call of a method before it is made. */
function watched<T extends object>(target: T, onCall: (method: string) => void): T {
  return new Proxy(target, {
    get(object, property) {
      const value: unknown = Reflect.get(object, property)
      if (property === 'store' && typeof value === 'object' && value !== null) return watched(value, onCall)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        onCall(String(property))
        return value.apply(object, args)
      }
    },
  })
}

/** Makes the guest. Returns the error instead, if one comes. */
async function tried(onCall: (method: string, n: number) => void, abort?: AbortSignal): Promise<LiveDomain | Error> {
  let calls = 0
  let hasReturned = false
  const hypervisor: Hypervisor = watched(xen, (method) => {
    if (!hasReturned) onCall(method, ++calls)
  })
  const config = { type: type === 'pvh' ? 'pvh' : 'pv', memory: 32 * 2 ** 20, name: 'faults' } as const
  try {
    return await launch(hypervisor, kernel, config, abort && { signal: abort })
  } catch (error) {
    return error as Error
  } finally {
    hasReturned = true
  }
}

async function injectErrors(): Promise<void> {
  const left: string[] = []
  let injected = 0
  for (let wanted = 1; ; wanted++) {
    let failed = ''
    const made = await tried((method, n) => {
      if (n !== wanted) return
      failed = method
      throw new Error('injected')
    })
    if (!(made instanceof Error)) {
      await made.destroy()
      break
    }
    injected++
    const domains = (await xen.listDomains()).filter(({ domid, dying }) => domid !== 0 && !dying)
    const notes = await xen.store.list('/tool/xen-domain-builder')
    if (made.message !== 'injected' || domains.length + notes.length > 0)
      left.push(`${failed}: ${made.message}, ${domains.length} domains, ${notes.length} notes`)
  }
  console.log(`${injected} faults injected into ${type}`)
  console.log(`left: ${left.join('; ') || 'nothing'}`)
}

async function sendSignal(): Promise<void> {
  const abort = new AbortController()
  const stop = () => abort.abort(new Error('stopped'))
  process.on('SIGTERM', stop)
  const made = await tried((_, n) => {
    if (n === Number(at)) process.kill(process.pid, signal)
  }, abort.signal)
  // The signal may come after the launch has looked for it the last time.
  if (!(made instanceof Error)) await made.destroy()
  else if (made.message !== 'stopped') console.error(made)
  process.off('SIGTERM', stop)
}

if (signal === undefined) await injectErrors()
else await sendSignal()
await xen.close()
if (signal !== undefined) process.kill(process.pid, signal)
