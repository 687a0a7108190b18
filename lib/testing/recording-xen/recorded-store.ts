/**
 * The recording Xen's xenstore: its nodes, watches and the domains that are connected to it.
 *
 * Source: xen/docs/misc/xenstore.txt; tools/xenstore/xenstored_domain.c for introductions and their errors.
 * Gotcha: events come later, as from a socket. xenstored maps the domain's page by its grant, so an introduction fails
 * before that entry is in the grant table.
 */
import type { Domid } from '../../toolstack/answer.js'
import type { StoreNodes, StorePermissions, XenStore } from '../../toolstack/xen-store.js'
import { demand } from './refusal.js'
import { concerns, type StoreChange, StoreTree } from './store-tree.js'

/** Announces a call before it is made. */
type Note = (name: string, ...args: unknown[]) => void

interface Watch {
  readonly process: string
  readonly path: string
  readonly onEvent: (path: string) => void
}

/** The nodes of a host on which a domain has run before. */
const AT_FIRST: Readonly<Record<string, string>> = {
  '/tool/xenstored': '',
  '/local/domain/0/name': 'Domain-0',
  '/local/domain/0/domid': '0',
  '/local/domain/0/backend/console': '',
  '/libxl': '',
  '/vm': '',
}

/** The state of xenstore, which all processes of a host share. */
export class StoreState {
  readonly tree = new StoreTree()
  readonly watches = new Set<Watch>()
  readonly connected = new Set<Domid>()

  constructor() {
    for (const [path, value] of Object.entries(AT_FIRST)) this.tree.write(path, value)
    this.tree.takeChanges()
  }

  /** Tells the watches of all changes since the last time. */
  fire(changes: readonly StoreChange[] = this.tree.takeChanges()): void {
    for (const watch of this.watches) {
      for (const change of changes) if (concerns(change, watch.path)) this.#tell(watch, change)
    }
  }

  #tell(watch: Watch, { path, removed }: StoreChange): void {
    const event = removed && path !== watch.path && watch.path.startsWith(path) ? watch.path : path
    queueMicrotask(() => {
      if (this.watches.has(watch)) watch.onEvent(event)
    })
  }

  /** Begins a watch, whose first event comes at once. */
  add(watch: Watch): void {
    this.watches.add(watch)
    this.#tell(watch, { path: watch.path, removed: false })
  }

  fireSpecial(path: '@introduceDomain' | '@releaseDomain'): void {
    this.fire([{ path, removed: false }])
  }

  /** Ends all that a process has. */
  endProcess(process: string): void {
    for (const watch of this.watches) if (watch.process === process) this.watches.delete(watch)
  }

  /** Tells the watches that a connected domain has stopped. */
  stopped(domid: Domid): void {
    if (this.connected.has(domid)) this.fireSpecial('@releaseDomain')
  }

  /** Ends the connection of a domain, if it has one. */
  disconnect(domid: Domid): void {
    if (this.connected.delete(domid)) this.fireSpecial('@releaseDomain')
  }
}

/** Reads and writes of a tree, each announced. */
class RecordedNodes implements StoreNodes {
  readonly #tree: StoreTree
  readonly #note: Note
  readonly #onChange: () => void

  /** @internal */
  constructor(tree: StoreTree, note: Note, onChange: () => void) {
    this.#tree = tree
    this.#note = note
    this.#onChange = onChange
  }

  read(path: string): string | undefined {
    this.#note('store.read', path)
    return this.#tree.read(path)
  }

  list(path: string): readonly string[] {
    this.#note('store.list', path)
    return this.#tree.list(path)
  }

  write(path: string, value: string): void {
    this.#note('store.write', path, value)
    this.#tree.write(path, value)
    this.#onChange()
  }

  mkdir(path: string): void {
    this.#note('store.mkdir', path)
    this.#tree.mkdir(path)
    this.#onChange()
  }

  remove(path: string): void {
    this.#note('store.remove', path)
    this.#tree.remove(path)
    this.#onChange()
  }

  setPermissions(path: string, permissions: StorePermissions): void {
    this.#note('store.setPermissions', path, permissions)
    this.#tree.setPermissions(path, permissions)
    this.#onChange()
  }
}

/** Checks the domain of an introduction. @throws DomainBuilderError `hypercall-failed` */
type CheckIntroduction = (domid: Domid, frame: number, port: number) => void

/** Xenstore of a RecordingXen, and its nodes as a test sees them. */
export class RecordedStore extends RecordedNodes implements XenStore {
  readonly #state: StoreState
  readonly #note: Note
  readonly #process: string
  readonly #checkIntroduction: CheckIntroduction

  /** @internal */
  constructor(state: StoreState, note: Note, process: string, checkIntroduction: CheckIntroduction) {
    super(state.tree, note, () => state.fire())
    this.#state = state
    this.#note = note
    this.#process = process
    this.#checkIntroduction = checkIntroduction
  }

  /** All nodes: path -> value, sorted. */
  get nodes(): Readonly<Record<string, string>> {
    return this.#state.tree.values
  }

  /** The permissions of each node, sorted by path. */
  get permissions(): Readonly<Record<string, StorePermissions>> {
    const { tree } = this.#state
    return Object.fromEntries(Object.keys(tree.values).map((path) => [path, tree.permissions(path) ?? ['n0']]))
  }

  /** The numbers of the domains that are connected, sorted. */
  get connected(): readonly Domid[] {
    return [...this.#state.connected].sort((a, b) => a - b)
  }

  /** Each attempt begins with the call `store.transaction`, and ends with `store.commit` unless `work` throws. */
  async transaction<T>(work: (nodes: StoreNodes) => Promise<T>): Promise<T> {
    for (;;) {
      this.#note('store.transaction')
      const copy = this.#state.tree.begin()
      const result = await work(new RecordedNodes(copy, this.#note, () => {}))
      this.#note('store.commit')
      if (!this.#state.tree.merge(copy)) continue
      this.#state.fire()
      return result
    }
  }

  introduce(domid: Domid, frame: number, port: number): void {
    this.#note('store.introduce', domid, frame, port)
    this.#checkIntroduction(domid, frame, port)
    const isNew = !this.#state.connected.has(domid)
    this.#state.connected.add(domid)
    if (isNew) this.#state.fireSpecial('@introduceDomain')
  }

  release(domid: Domid): void {
    this.#note('store.release', domid)
    this.#requireConnected(domid)
    this.#state.disconnect(domid)
  }

  resume(domid: Domid): void {
    this.#note('store.resume', domid)
    this.#requireConnected(domid)
  }

  #requireConnected(domid: Domid): void {
    demand(this.#state.connected.has(domid), 'ENOENT', `domain ${domid} is not connected to xenstore`)
  }

  watch(path: string, onEvent: (path: string) => void): () => void {
    this.#note('store.watch', path)
    demand(/^[/@]/.test(path), 'EINVAL', `the path '${path}' of a watch is invalid`)
    const watch = { process: this.#process, path, onEvent }
    this.#state.add(watch)
    return () => {
      this.#note('store.unwatch', path)
      this.#state.watches.delete(watch)
    }
  }
}
