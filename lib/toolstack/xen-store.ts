/**
 * XenStore: the tree of names that toolstacks, backends and guests share.
 *
 * Source: xen/docs/misc/xenstore.txt; xen/include/public/io/xs_wire.h.
 * Gotcha: a new node inherits the permissions of its parent, so a node for the guest needs permissions set on it.
 */
import type { Answer, Domid } from './answer.js'

/** Who may read and write a node: the owner first (`n0`: dom0 owns it, others nothing), then `r5`, `b5` and so on. */
export type StorePermissions = readonly [owner: string, ...others: string[]]

/** Reads and writes of nodes, each path from the root on. */
export interface StoreNodes {
  /** Returns a node's value; undefined if it does not exist. */
  read(path: string): Answer<string | undefined>
  /** Returns the names below a node; none if it does not exist. */
  list(path: string): Answer<readonly string[]>
  /** Sets a node's value, and makes the nodes above it that are missing. */
  write(path: string, value: string): Answer<void>
  /** Makes a node without a value, and those above it. */
  mkdir(path: string): Answer<void>
  /** Removes a node and all below it, if it exists. */
  remove(path: string): Answer<void>
  /** Sets who may read and write a node. */
  setPermissions(path: string, permissions: StorePermissions): Answer<void>
}

/** Xenstore. */
export interface XenStore extends StoreNodes {
  /** Runs reads and writes that happen at once or not at all; they run again if another writer came between. */
  transaction<T>(work: (nodes: StoreNodes) => Promise<T>): Promise<T>
  /** Connects a domain to xenstore: its ring page, an mfn or gfn, and its event channel. */
  introduce(domid: Domid, frame: number, port: number): Answer<void>
  /** Ends the connection of a domain. */
  release(domid: Domid): Answer<void>
  /** Tells xenstore that a domain which had stopped goes on. */
  resume(domid: Domid): Answer<void>
  /**
   * Calls `onEvent` when something below the path changes, and once at first. `@introduceDomain` and `@releaseDomain`
   * are paths too. Returns a function that ends it.
   */
  watch(path: string, onEvent: (path: string) => void): Answer<() => Answer<void>>
}
