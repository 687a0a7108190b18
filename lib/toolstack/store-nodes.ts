/**
 * The nodes of a domain in xenstore, as libxl makes them: guests, xl, xenconsoled and backends find a domain by them.
 *
 * Source: Xen docs/misc/xenstore-paths.pandoc; tools/libs/light/libxl_create.c, libxl_dom.c and libxl_console.c (the
 * names, not the code).
 * Gotcha: a node belongs to its guest only where the guest must write it; everywhere else it may read at most.
 */
import type { Answer, Domid } from './answer.js'
import type { StoreNodes, StorePermissions, XenStore } from './xen-store.js'

/** A domain as its nodes describe it. */
interface StoredDomain {
  readonly domid: Domid
  readonly uuid: string
  readonly name: string
  readonly type: 'pv' | 'pvh'
  readonly memoryKib: number
  readonly maxmemKib: number
  readonly vcpus: number
  /** Whether the guest may bring that vcpu up. */
  readonly isAvailable: (vcpu: number) => boolean
  readonly cmdline: string
  /** The ring pages, as backends map them, and the ports of their event channels. */
  readonly store: { readonly frame: number; readonly port: number }
  readonly console: { readonly frame: number; readonly port: number; readonly domid: Domid }
}

/** The state of a device that its backend has not seen (XenbusStateInitialising). */
const INITIALISING = 1
/** Bytes that xenconsoled buffers. */
const CONSOLE_LIMIT = 1048576

const domainPath = (domid: Domid): string => `/local/domain/${domid}`
const libxlPath = (domid: Domid): string => `/libxl/${domid}`
const vmPath = (uuid: string): string => `/vm/${uuid}`
const consoleBackend = (backend: Domid, domid: Domid): string => `${domainPath(backend)}/backend/console/${domid}`

/** Nodes that the guest reads, and those that it owns. */
const READABLE = ['cpu', 'memory', 'device', 'control']
const OWNED = [
  'device/suspend/event-channel',
  'control/shutdown',
  'control/feature-poweroff',
  'control/feature-reboot',
  'control/feature-suspend',
  'control/sysrq',
  'data',
  'drivers',
  'feature',
  'attr',
  'error',
]

/** Makes a domain's nodes, and tells xenstore of it. */
export async function storeDomain(store: XenStore, domain: StoredDomain): Promise<void> {
  await store.transaction((nodes) => makeNodes(nodes, domain))
  await store.introduce(domain.domid, domain.store.frame, domain.store.port)
}

/** Makes the nodes. All requests are sent before the first answer is awaited: xenstore keeps their order. */
async function makeNodes(nodes: StoreNodes, domain: StoredDomain): Promise<void> {
  const { domid, uuid, name } = domain
  const [home, vm, libxl] = [domainPath(domid), vmPath(uuid), libxlPath(domid)]
  const forDom0: StorePermissions = ['n0']
  const readable: StorePermissions = ['n0', `r${domid}`]
  const owned: StorePermissions = [`n${domid}`]
  const answers: Answer<unknown>[] = []
  const make = (path: string, permissions: StorePermissions) =>
    answers.push(nodes.mkdir(path), nodes.setPermissions(path, permissions))
  const write = (path: string, values: Readonly<Record<string, string | number>>) => {
    for (const [key, value] of Object.entries(values)) answers.push(nodes.write(`${path}/${key}`, String(value)))
  }
  for (const path of [home, vm, libxl]) answers.push(nodes.remove(path))
  make(home, readable)
  make(vm, readable)
  make(libxl, forDom0)
  make(`${libxl}/device`, forDom0)
  write(home, { vm, name })
  for (const path of READABLE) make(`${home}/${path}`, readable)
  for (const path of OWNED) make(`${home}/${path}`, owned)
  write(vm, { uuid, name, ...imageOf(domain) })
  write(`${home}/control`, { 'platform-feature-multiprocessor-suspend': 1, 'platform-feature-xs_reset_watches': 1 })
  write(libxl, { type: domain.type })
  write(home, {
    'memory/static-max': domain.maxmemKib,
    'memory/target': domain.memoryKib,
    'memory/videoram': 0,
    domid,
    'store/port': domain.store.port,
    'store/ring-ref': domain.store.frame,
  })
  for (let i = 0; i < domain.vcpus; i++) {
    write(home, { [`cpu/${i}/availability`]: domain.isAvailable(i) ? 'online' : 'offline' })
  }
  const { console } = domain
  const frontend = `${home}/console`
  const backend = `${consoleBackend(console.domid, domid)}/0`
  const device = { 'frontend-id': domid, online: 1, state: INITIALISING, protocol: 'vt100' }
  make(frontend, readable)
  write(frontend, consoleFrontend(domain, backend))
  make(backend, [`n${console.domid}`, `r${domid}`])
  write(backend, { frontend, ...device })
  write(`${libxl}/device/console/0`, { frontend, backend, ...device })
  await Promise.all(answers)
}

/** xl names the image of a PV guest. */
const imageOf = ({ type, cmdline }: StoredDomain): Readonly<Record<string, string>> =>
  type === 'pv' ? { 'image/ostype': 'linux', 'image/cmdline': cmdline } : {}

const consoleFrontend = ({ console }: StoredDomain, backend: string): Readonly<Record<string, string | number>> => ({
  backend,
  'backend-id': console.domid,
  limit: CONSOLE_LIMIT,
  type: 'xenconsoled',
  output: 'pty',
  tty: '',
  port: console.port,
  'ring-ref': console.frame,
})

/** Returns the number of the domain of that name; undefined if it does not exist. */
export async function domainNamed(store: XenStore, name: string): Promise<Domid | undefined> {
  for (const entry of await store.list('/local/domain')) {
    if ((await store.read(`/local/domain/${entry}/name`)) === name) return Number(entry)
  }
  return undefined
}

/** Returns the name of a domain, or undefined. */
export const nameOf = async (store: XenStore, domid: Domid): Promise<string | undefined> =>
  store.read(`${domainPath(domid)}/name`)

/** Returns the node with the name of the terminal at which a domain's console is. It is empty at first. */
export const consoleTtyNode = (domid: Domid): string => `${domainPath(domid)}/console/tty`

/**
 * Returns the devices of a domain except its console, as KIND/NUMBER, and `device-model` for its QEMU: they have to be
 * told before it ends.
 */
export async function devicesOf(store: XenStore, domid: Domid): Promise<string[]> {
  const models = await store.list(`${domainPath(0)}/device-model`)
  const devices = models.includes(String(domid)) ? ['device-model'] : []
  for (const kind of await store.list(`${libxlPath(domid)}/device`)) {
    for (const device of await store.list(`${libxlPath(domid)}/device/${kind}`)) devices.push(`${kind}/${device}`)
  }
  return devices.filter((device) => device !== 'console/0')
}

/** Removes all nodes of a domain, and ends its connection. */
export async function forgetDomain(store: XenStore, domid: Domid, uuid: string): Promise<void> {
  const backend = (await store.read(`${domainPath(domid)}/console/backend-id`)) ?? '0'
  await store.transaction(async (nodes) => {
    for (const path of [consoleBackend(Number(backend), domid), domainPath(domid), vmPath(uuid), libxlPath(domid)])
      await nodes.remove(path)
  })
}

/** Returns the domain that serves xenstore and the one that serves consoles: dom0, unless another one says so. */
export async function backendsOf(store: XenStore): Promise<{ readonly store: Domid; readonly console: Domid }> {
  const at = async (path: string): Promise<Domid> => Number((await store.read(path)) ?? 0)
  return { store: await at('/tool/xenstored/domid'), console: await at('/tool/xenconsoled/domid') }
}
