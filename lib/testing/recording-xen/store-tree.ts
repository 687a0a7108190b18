/**
 * The nodes of the recording Xen's xenstore, and the changes of a transaction to them.
 *
 * Source: xen/docs/misc/xenstore.txt; tools/xenstore/xenstored_core.c and xenstored_transaction.c for what conflicts.
 * Gotcha: a node changes when a name below it comes or goes too, so two transactions that add one each conflict.
 */

import { XENSTORE_PAYLOAD_MAX } from '../../abi/xs-wire.js'
import { utf8Length } from '../../bytes.js'
import { append } from '../../lists.js'
import type { StorePermissions } from '../../toolstack/xen-store.js'
import { demand, refused } from './refusal.js'

/** The longest path. A message holds a path and a value. */
const PATH_MAX = 3072
/** Characters of a path; it begins with a slash, and no name is empty. */
const PATH = /^(?:\/|(?:\/[\w@-]+)+)$/
const PERMISSION = /^[nrwb]\d{1,5}$/

interface Node {
  readonly value: string
  readonly permissions: StorePermissions
  /** Differs after each change of the node. */
  readonly generation: number
}

/** A change: a node that was written or made, or one that was removed with all below it. */
export interface StoreChange {
  readonly path: string
  readonly removed: boolean
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/'
const isBelow = (path: string, above: string): boolean => path.startsWith(above === '/' ? '/' : `${above}/`)

function checkPath(path: string): void {
  demand(PATH.test(path), 'EINVAL', `the path '${path}' of xenstore is invalid`)
  demand(path.length <= PATH_MAX, 'EINVAL', 'the path of a node is too long')
}

export class StoreTree {
  readonly #nodes: Map<string, Node>
  /** The generation of each node that was read or written here, as it was before. */
  readonly #seen = new Map<string, number | undefined>()
  readonly #changes: StoreChange[] = []
  #generation: number

  /** @param nodes of another tree, for a transaction. */
  constructor(nodes?: ReadonlyMap<string, Node>, generation = 0) {
    this.#nodes = new Map(nodes ?? [['/', { value: '', permissions: ['n0'], generation: 0 }]])
    this.#generation = generation
  }

  /** A copy that changes on its own, until it is merged. */
  begin(): StoreTree {
    return new StoreTree(this.#nodes, this.#generation)
  }

  /** Makes the changes of a copy. Returns false, and makes none, if another change came between. */
  merge(copy: StoreTree): boolean {
    for (const [path, generation] of copy.#seen) {
      if (this.#nodes.get(path)?.generation !== generation) return false
    }
    for (const path of copy.#seen.keys()) {
      const node = copy.#nodes.get(path)
      if (node === undefined) this.#nodes.delete(path)
      else if (node.generation !== this.#nodes.get(path)?.generation) this.#set(path, node)
    }
    append(this.#changes, copy.#changes)
    return true
  }

  /** Returns the changes since the last call. */
  takeChanges(): StoreChange[] {
    return this.#changes.splice(0)
  }

  /** All nodes except the root, with their values: sorted by path. */
  get values(): Record<string, string> {
    const named = [...this.#nodes].filter(([path]) => path !== '/')
    return Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, { value }]) => [path, value]))
  }

  /** Who may read and write a node. */
  permissions(path: string): StorePermissions | undefined {
    return this.#get(path)?.permissions
  }

  read(path: string): string | undefined {
    return this.#get(path)?.value
  }

  list(path: string): readonly string[] {
    if (this.#get(path) === undefined) return []
    return this.#below(path)
      .map((node) => node.slice(path === '/' ? 1 : path.length + 1))
      .filter((name) => !name.includes('/'))
      .sort()
  }

  write(path: string, value: string): void {
    checkPath(path)
    demand(
      utf8Length(path) + 1 + utf8Length(value) <= XENSTORE_PAYLOAD_MAX,
      'E2BIG',
      `the value of ${path} is too long`,
    )
    this.#make(path)
    this.#set(path, { ...(this.#nodes.get(path) as Node), value })
    this.#changes.push({ path, removed: false })
  }

  mkdir(path: string): void {
    if (this.#get(path) !== undefined) return
    this.#make(path)
    this.#changes.push({ path, removed: false })
  }

  remove(path: string): void {
    demand(path !== '/', 'EINVAL', 'the root of xenstore is removed')
    if (this.#get(path) === undefined) return
    for (const node of [path, ...this.#below(path)]) {
      this.#see(node)
      this.#nodes.delete(node)
    }
    this.#touch(parentOf(path))
    this.#changes.push({ path, removed: true })
  }

  setPermissions(path: string, permissions: StorePermissions): void {
    const valid = permissions.length > 0 && permissions.every((one) => PERMISSION.test(one))
    demand(valid, 'EINVAL', `the permissions of ${path} are invalid: ${permissions.join(' ')}`)
    const node = this.#get(path)
    if (node === undefined) throw refused('ENOENT', `the node ${path} does not exist, so it has no permissions`)
    this.#set(path, { ...node, permissions: [...permissions] })
    this.#changes.push({ path, removed: false })
  }

  #get(path: string): Node | undefined {
    checkPath(path)
    this.#see(path)
    return this.#nodes.get(path)
  }

  #see(path: string): void {
    if (!this.#seen.has(path)) this.#seen.set(path, this.#nodes.get(path)?.generation)
  }

  #set(path: string, node: Omit<Node, 'generation'>): void {
    this.#see(path)
    this.#nodes.set(path, { ...node, generation: ++this.#generation })
  }

  #touch(path: string): void {
    const node = this.#nodes.get(path)
    if (node) this.#set(path, node)
  }

  /** Makes a node, and those above it, with the permissions of the nearest node above. */
  #make(path: string): void {
    this.#see(path)
    if (this.#nodes.has(path)) return
    const parent = parentOf(path)
    this.#make(parent)
    this.#set(path, { value: '', permissions: (this.#nodes.get(parent) as Node).permissions })
    this.#touch(parent)
  }

  #below(path: string): string[] {
    return [...this.#nodes.keys()].filter((node) => node !== path && isBelow(node, path))
  }
}

/** Whether a watch of a path is to be told of a change. */
export const concerns = ({ path, removed }: StoreChange, watched: string): boolean =>
  path === watched || isBelow(path, watched) || (removed && isBelow(watched, path))
