/**
 * Xenstore over the socket of xenstored, or over the kernel's device if xenstored runs in another domain.
 *
 * Source: xen/include/public/io/xs_wire.h; xen/docs/misc/xenstore.txt; tools/libs/store/xs.c for the places.
 * Gotcha: events come between replies, and a message comes in any number of pieces. The connection keeps the process
 * alive only while a reply is outstanding or a path is watched.
 */
import { XENSTORE_PAYLOAD_MAX, XS, XsdSockmsg, type XsType } from '../abi/xs-wire.js'
import { concat, decodeUtf8, encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domid } from '../toolstack/answer.js'
import type { StoreNodes, StorePermissions, XenStore } from '../toolstack/xen-store.js'
import { openTransport, type Transport } from './xenstore-transport.js'

const NO_TRANSACTION = 0

/** A reply: its body, or the name of an error such as ENOENT. */
type Reply = { readonly body: Uint8Array } | { readonly error: string }

interface Waiter {
  readonly what: string
  readonly type: number
  resolve(reply: Reply): void
  reject(error: Error): void
}

/** A connection to xenstored. */
export interface StoreConnection extends XenStore {
  /** Closes it; every later request is refused. */
  close(): void
}

const failed = (message: string, cause?: unknown): DomainBuilderError =>
  new DomainBuilderError('hypercall-failed', message, cause === undefined ? {} : { cause })

const requestName = (type: XsType, of = ''): string => `xenstore's ${type}${of === '' ? '' : ` of ${of}`}`

/** Requests, each with the reply to it, and the events of watches. */
class Wire {
  readonly #transport: Transport
  readonly #waiters = new Map<number, Waiter>()
  readonly #watches = new Map<string, (path: string) => void>()
  #received: Uint8Array = new Uint8Array(0)
  #lastId = 0
  #lastToken = 0
  #lost: DomainBuilderError | undefined

  constructor(transport: Transport) {
    this.#transport = transport
    transport.start({ onBytes: (bytes) => this.#receive(bytes), onEnd: (cause) => this.#lose(cause) })
    transport.setBusy(false)
  }

  /** Sends a request, whose arguments end with NUL, except `value`. */
  async request(type: XsType, transaction: number, args: readonly string[], value?: string): Promise<Reply> {
    if (this.#lost) throw this.#lost
    const what = requestName(type, args[0])
    if ([...args, value ?? ''].some((text) => text.includes('\0'))) throw failed(`${what} has a NUL in it`)
    const body = concat([...args.map((arg) => encodeUtf8(`${arg}\0`)), encodeUtf8(value ?? '')])
    if (body.length > XENSTORE_PAYLOAD_MAX) {
      throw new DomainBuilderError('hypercall-failed', `${what} is too large`, {
        expected: `at most ${XENSTORE_PAYLOAD_MAX} bytes`,
        found: `${body.length} bytes`,
      })
    }
    const id = this.#nextId()
    const header = XsdSockmsg.encode({ type: XS[type], req_id: id, tx_id: transaction, len: body.length })
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { what, type: XS[type], resolve, reject })
      this.#updateBusy()
      this.#transport.send(concat([header, body]))
    })
  }

  /** Returns an unused token, whose events go to `onEvent`. */
  addWatch(onEvent: (path: string) => void): string {
    const token = String(++this.#lastToken)
    this.#watches.set(token, onEvent)
    this.#updateBusy()
    return token
  }

  removeWatch(token: string): void {
    this.#watches.delete(token)
    this.#updateBusy()
  }

  close(): void {
    this.#lose(undefined)
    this.#transport.close()
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#waiters.has(this.#lastId))
    return this.#lastId
  }

  #updateBusy(): void {
    this.#transport.setBusy(this.#waiters.size + this.#watches.size > 0)
  }

  #receive(bytes: Uint8Array): void {
    this.#received = concat([this.#received, bytes])
    let at = 0
    while (this.#received.length - at >= XsdSockmsg.size) {
      const header = XsdSockmsg.decode(this.#received, at)
      if (header.len > XENSTORE_PAYLOAD_MAX) {
        this.#lose(new Error(`a message of ${header.len} bytes`))
        this.#transport.close()
        return
      }
      const end = at + XsdSockmsg.size + header.len
      if (this.#received.length < end) break
      this.#dispatch(header.type, header.req_id, this.#received.slice(at + XsdSockmsg.size, end))
      at = end
    }
    this.#received = this.#received.slice(at)
  }

  #dispatch(type: number, id: number, body: Uint8Array): void {
    if (type === XS.watch_event) {
      const [path = '', token = ''] = decodeUtf8(body).split('\0')
      this.#notify(token, path)
      return
    }
    const waiter = this.#waiters.get(id)
    // A reply to an unknown request.
    if (waiter === undefined) return
    this.#waiters.delete(id)
    this.#updateBusy()
    if (type === XS.error) waiter.resolve({ error: decodeUtf8(body).split('\0')[0] ?? '' })
    else if (type === waiter.type) waiter.resolve({ body })
    else waiter.reject(failed(`${waiter.what} has a reply of unknown type ${type}`))
  }

  /** Calls a watcher on its own, so that an error in it is not one of the connection. */
  #notify(token: string, path: string): void {
    queueMicrotask(() => this.#watches.get(token)?.(path))
  }

  /** Refuses everything from now on. Watchers are called, so that their next request tells them. */
  #lose(cause: Error | undefined): void {
    if (this.#lost) return
    const why = cause === undefined ? '' : `: ${cause.message}`
    this.#lost = failed(`the connection to xenstored is closed${why}`, cause)
    for (const waiter of this.#waiters.values()) waiter.reject(this.#lost)
    this.#waiters.clear()
    const watches = [...this.#watches.values()]
    this.#watches.clear()
    this.#updateBusy()
    for (const onEvent of watches) queueMicrotask(() => onEvent(''))
  }
}

const decodeList = (body: Uint8Array): string[] => decodeUtf8(body).split('\0').filter(Boolean)

/** Reads and writes in a transaction, or outside one. */
class Nodes implements StoreNodes {
  readonly #wire: Wire
  readonly #transaction: number

  constructor(wire: Wire, transaction: number) {
    this.#wire = wire
    this.#transaction = transaction
  }

  async read(path: string): Promise<string | undefined> {
    const body = await this.#ask('read', [path], ['ENOENT'])
    return body && decodeUtf8(body)
  }

  async list(path: string): Promise<readonly string[]> {
    const reply = await this.#wire.request('directory', this.#transaction, [path])
    if ('body' in reply) return decodeList(reply.body)
    if (reply.error === 'ENOENT') return []
    if (reply.error === 'E2BIG') return this.#listParts(path)
    throw refused('directory', path, reply.error)
  }

  /** Lists more names than a message holds. They are read again if they change meanwhile. */
  async #listParts(path: string): Promise<readonly string[]> {
    let text = ''
    let generation: string | undefined
    for (;;) {
      const body = await this.#ask('directory_part', [path, String(encodeUtf8(text).length)], ['ENOENT'])
      if (body === undefined) return []
      const reply = decodeUtf8(body)
      const start = reply.indexOf('\0') + 1
      const found = reply.slice(0, start)
      if (generation !== undefined && found !== generation) {
        generation = undefined
        text = ''
        continue
      }
      generation = found
      text += reply.slice(start)
      // The last part ends with an empty name.
      if (text.endsWith('\0\0') || text === '\0' || start === reply.length) return text.split('\0').filter(Boolean)
    }
  }

  async write(path: string, value: string): Promise<void> {
    await this.#ask('write', [path], [], value)
  }

  async mkdir(path: string): Promise<void> {
    await this.#ask('mkdir', [path], ['EEXIST'])
  }

  async remove(path: string): Promise<void> {
    await this.#ask('rm', [path], ['ENOENT'])
  }

  async setPermissions(path: string, permissions: StorePermissions): Promise<void> {
    await this.#ask('set_perms', [path, ...permissions])
  }

  /** Returns the reply's body, or undefined for one of the errors in `allowed`. */
  async #ask(
    type: XsType,
    args: readonly string[],
    allowed: readonly string[] = [],
    value?: string,
  ): Promise<Uint8Array | undefined> {
    return ask(this.#wire, type, this.#transaction, args, allowed, value)
  }
}

const refused = (type: XsType, path: string | undefined, error: string): DomainBuilderError =>
  failed(`${requestName(type, path)} is refused: ${error}`)

/** Returns the reply's body, or undefined for one of the errors in `allowed`. @throws DomainBuilderError for the others. */
async function ask(
  wire: Wire,
  type: XsType,
  transaction: number,
  args: readonly string[],
  allowed: readonly string[] = [],
  value?: string,
): Promise<Uint8Array | undefined> {
  const reply = await wire.request(type, transaction, args, value)
  if ('body' in reply) return reply.body
  if (allowed.includes(reply.error)) return undefined
  throw refused(type, args[0], reply.error)
}

class Store extends Nodes implements StoreConnection {
  readonly #wire: Wire

  constructor(wire: Wire) {
    super(wire, NO_TRANSACTION)
    this.#wire = wire
  }

  async transaction<T>(work: (nodes: StoreNodes) => Promise<T>): Promise<T> {
    for (;;) {
      const started = await ask(this.#wire, 'transaction_start', NO_TRANSACTION, [''])
      const id = Number.parseInt(decodeUtf8(started ?? new Uint8Array(0)), 10)
      let result: T
      try {
        result = await work(new Nodes(this.#wire, id))
      } catch (error) {
        // The error of the work says more than one of the end.
        await this.#wire.request('transaction_end', id, ['F']).catch(() => undefined)
        throw error
      }
      if ((await ask(this.#wire, 'transaction_end', id, ['T'], ['EAGAIN'])) !== undefined) return result
    }
  }

  async introduce(domid: Domid, frame: number, port: number): Promise<void> {
    await ask(this.#wire, 'introduce', NO_TRANSACTION, [String(domid), String(frame), String(port)])
  }

  async release(domid: Domid): Promise<void> {
    // Xenstored ends the connection of a domain itself when the domain is gone.
    await ask(this.#wire, 'release', NO_TRANSACTION, [String(domid)], ['ENOENT', 'EINVAL'])
  }

  async resume(domid: Domid): Promise<void> {
    await ask(this.#wire, 'resume', NO_TRANSACTION, [String(domid)])
  }

  async watch(path: string, onEvent: (path: string) => void): Promise<() => Promise<void>> {
    const token = this.#wire.addWatch(onEvent)
    try {
      await ask(this.#wire, 'watch', NO_TRANSACTION, [path, token])
    } catch (error) {
      this.#wire.removeWatch(token)
      throw error
    }
    let ended: Promise<unknown> | undefined
    return async () => {
      this.#wire.removeWatch(token)
      ended ??= ask(this.#wire, 'unwatch', NO_TRANSACTION, [path, token], ['ENOENT'])
      await ended
    }
  }

  close(): void {
    this.#wire.close()
  }
}

/** Connects to xenstored. @throws DomainBuilderError `no-hypervisor` */
export const openXenStore = async (): Promise<StoreConnection> => new Store(new Wire(await openTransport()))
