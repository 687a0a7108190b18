/**
 * A small xenstored for tests: the nodes of the recording Xen, served on a socket.
 *
 * Source: xen/include/public/io/xs_wire.h; xen/docs/misc/xenstore.txt. test/xen runs the same client against Xen's own.
 * Gotcha: it answers at once and in order, unless a test takes the answers into its own hands.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { XS, XsdSockmsg, type XsType } from '../../lib/abi/xs-wire.js'
import { DomainBuilderError } from '../../lib/errors.js'
import { concerns, StoreTree } from '../../lib/testing/recording-xen/store-tree.js'
import type { StorePermissions } from '../../lib/toolstack/xen-store.js'

export interface Request {
  readonly type: XsType
  readonly id: number
  readonly transaction: number
  /** The body, split at NUL. */
  readonly args: readonly string[]
}

/** Returns a message: a reply, an error or an event. */
export const message = (type: number, id: number, body: string): Buffer => {
  const bytes = Buffer.from(body)
  return Buffer.concat([XsdSockmsg.encode({ type, req_id: id, tx_id: 0, len: bytes.length }), bytes])
}

const NAMES = new Map(Object.entries(XS).map(([name, type]) => [type as number, name as XsType]))

export class Xenstored {
  readonly tree = new StoreTree()
  readonly requests: Request[] = []
  readonly sockets = new Set<Socket>()
  /** Sends what it returns instead of the usual answer. */
  intercept: (request: Request) => Buffer | undefined = () => undefined
  /** Sends bytes to the client. */
  send = (socket: Socket, bytes: Buffer): void => void socket.write(bytes)
  readonly #watches: { readonly socket: Socket; readonly path: string; readonly token: string }[] = []
  readonly #transactions = new Map<number, StoreTree>()
  #lastTransaction = 0

  serve(socket: Socket): void {
    this.sockets.add(socket)
    socket.on('close', () => this.sockets.delete(socket))
    socket.on('error', () => {})
    let received = Buffer.alloc(0)
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes])
      while (received.length >= XsdSockmsg.size) {
        const { type, req_id, tx_id, len } = XsdSockmsg.decode(received)
        const end = XsdSockmsg.size + len
        if (received.length < end) return
        const args = received.subarray(XsdSockmsg.size, end).toString().split('\0')
        received = received.subarray(end)
        this.#handle(socket, { type: NAMES.get(type) as XsType, id: req_id, transaction: tx_id, args })
      }
    })
  }

  #handle(socket: Socket, request: Request): void {
    this.requests.push(request)
    const { type, id, args } = request
    const given = this.intercept(request)
    try {
      this.send(socket, given ?? message(XS[type], id, this.#answer(request)))
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      this.send(socket, message(XS.error, id, `${error.found}\0`))
    }
    if (given === undefined && type === 'watch') {
      const [path = '', token = ''] = args
      this.#watches.push({ socket, path, token })
      this.#event(socket, path, token)
    }
    for (const change of this.tree.takeChanges()) {
      for (const watch of this.#watches)
        if (concerns(change, watch.path)) this.#event(watch.socket, change.path, watch.token)
    }
  }

  #event(socket: Socket, path: string, token: string): void {
    this.send(socket, message(XS.watch_event, 0, `${path}\0${token}\0`))
  }

  /** Returns the body of the reply. @throws DomainBuilderError, whose `found` is the errno. */
  #answer({ type, transaction, args }: Request): string {
    const tree = this.#transactions.get(transaction) ?? this.tree
    const [path = '', value = ''] = args
    const fail = (found: string): never => {
      throw new DomainBuilderError('hypercall-failed', 'refused', { found })
    }
    switch (type) {
      case 'read':
        return tree.read(path) ?? fail('ENOENT')
      case 'directory':
        if (tree.read(path) === undefined) fail('ENOENT')
        return tree
          .list(path)
          .map((name) => `${name}\0`)
          .join('')
      case 'write':
        tree.write(path, value)
        return 'OK\0'
      case 'mkdir':
        tree.mkdir(path)
        return 'OK\0'
      case 'rm':
        if (tree.read(path) === undefined) fail('ENOENT')
        tree.remove(path)
        return 'OK\0'
      case 'set_perms':
        tree.setPermissions(path, args.slice(1, -1) as unknown as StorePermissions)
        return 'OK\0'
      case 'transaction_start':
        this.#transactions.set(++this.#lastTransaction, this.tree.begin())
        return `${this.#lastTransaction}\0`
      case 'transaction_end':
        this.#transactions.delete(transaction)
        if (path === 'T' && !this.tree.merge(tree)) fail('EAGAIN')
        return 'OK\0'
      case 'unwatch': {
        const at = this.#watches.findIndex((watch) => watch.path === path && watch.token === value)
        if (at < 0) fail('ENOENT')
        this.#watches.splice(at, 1)
        return 'OK\0'
      }
      default:
        return 'OK\0'
    }
  }
}

/** Starts it for a test, and makes the client find it. */
export async function startXenstored(t: Test): Promise<Xenstored> {
  const xenstored = new Xenstored()
  const server = createServer((socket) => xenstored.serve(socket))
  // A name of a socket has at most 107 bytes, which a test's own directory may exceed.
  const folder = mkdtempSync(join(tmpdir(), 'xdb-store-'))
  const path = join(folder, 'socket')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  process.env.XENSTORED_PATH = path
  t.teardown(() => {
    for (const socket of xenstored.sockets) socket.destroy()
    server.close()
    rmSync(folder, { recursive: true })
  })
  return xenstored
}
