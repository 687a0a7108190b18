/**
 * The functions of C without a Xen: memory in this process, and hypercalls that a test answers.
 *
 * Source: lib/live/native.ts, which this replaces; xen/include/public/domctl.h for the places of fields.
 * Gotcha: it knows nothing of lib/abi, so that a wrong layout there is found here.
 */
import type { HypercallArguments, Native } from '../../lib/live/native.js'

export const ERRNO = {
  ...{ EPERM: 1, ESRCH: 3, EINTR: 4, EAGAIN: 11, ENOMEM: 12, EACCES: 13, EINVAL: 22, ENODATA: 61, ERESTART: 85 },
} as const

/** A request as Xen sees it. */
export interface Call {
  readonly number: number
  readonly args: HypercallArguments
  /** Bytes at an address: the memory itself. */
  at(address: number | bigint, length: number): Buffer
}

const PAGE = 4096
const DOMCTL = 36
const SYSCTL = 35
const XEN_VERSION = 17

export class FakeNative implements Native {
  /** Xen's version, its interfaces, and the capabilities of its host. */
  version = [4, 17]
  domctl = 0x15
  sysctl = 0x15
  capabilities = 8
  /** Answers a request with a result, or a negative errno. */
  answer: (call: Call) => number = () => 0
  /** domctls as they came: number, domain, and the rest of the struct. */
  readonly domctls: { readonly cmd: number; readonly domid: number; readonly u: Buffer }[] = []
  /** Memory that was allocated and not freed. */
  readonly memory = new Map<number, Buffer>()
  /** The frames of a domain, each with its page. */
  readonly frames = new Map<bigint, Buffer>()
  /** The page of its grant table. */
  grants: Buffer | undefined = Buffer.alloc(PAGE)
  isClosed = false
  readonly #mappings = new Map<number, BigUint64Array>()
  #next = 0x1000
  #errno = 0

  alloc(bytes: number): number {
    const address = this.#next
    this.#next += bytes + 0x1000
    this.memory.set(address, Buffer.alloc(bytes))
    return address
  }

  free(address: number): void {
    if (!this.memory.delete(address)) throw new Error('freed twice')
  }

  /** Returns the memory at an address. @throws Error for memory that is not there: C would end the process. */
  at(address: number | bigint, length: number): Buffer {
    for (const [start, bytes] of this.memory) {
      const from = Number(address) - start
      if (from >= 0 && from + length <= bytes.length) return bytes.subarray(from, from + length)
    }
    throw new Error(`no ${length} bytes at ${address}`)
  }

  write(address: number, bytes: Uint8Array): void {
    this.at(address, bytes.length).set(bytes)
  }

  read(address: number, bytes: Uint8Array): void {
    bytes.set(this.at(address, bytes.length))
  }

  zero(address: number, length: number): void {
    this.at(address, length).fill(0)
  }

  hypercall(number: number, args: HypercallArguments): number {
    const result = this.#result(number, args)
    if (result >= 0) return result
    this.#errno = -result
    return -1
  }

  async hypercallAway(number: number, args: HypercallArguments): Promise<number> {
    await new Promise(setImmediate)
    // The errno of another thread is not known to this one.
    return this.#result(number, args) < 0 ? -1 : 0
  }

  #result(number: number, args: HypercallArguments): number {
    if (this.isClosed) throw new Error('used after it was closed')
    const [first = 0] = args
    if (number === XEN_VERSION) return ((this.version[0] ?? 0) << 16) | (this.version[1] ?? 0)
    const at = (address: number | bigint, length: number): Buffer => this.at(address, length)
    if (number === DOMCTL) {
      const request = at(first, 144)
      if (request.readUInt32LE(4) !== this.domctl) return -ERRNO.EACCES
      this.domctls.push({
        cmd: request.readUInt32LE(0),
        domid: request.readUInt16LE(8),
        u: Buffer.from(request.subarray(16)),
      })
    }
    if (number === SYSCTL) {
      const request = at(first, 136)
      if (request.readUInt32LE(4) !== this.sysctl) return -ERRNO.EACCES
      if (request.readUInt32LE(0) === 3) request.writeUInt32LE(this.capabilities, 8 + 28)
    }
    return this.answer({ number, args, at })
  }

  map(_domid: number, frames: BigUint64Array, _writable: boolean, errors: Int32Array): number {
    const address = this.alloc(0)
    const pages = Array.from(frames, (frame, i) => {
      if (!this.frames.has(frame)) errors[i] = -ERRNO.EINVAL
      return this.frames.get(frame) ?? Buffer.alloc(PAGE)
    })
    this.memory.set(address, Buffer.concat(pages))
    this.#mappings.set(address, frames.slice())
    return address
  }

  unmap(address: number, pages: number): number {
    const all = this.at(address, pages * PAGE)
    this.#mappings.get(address)?.forEach((frame, i) => {
      if (this.frames.has(frame)) this.frames.set(frame, Buffer.from(all.subarray(i * PAGE, (i + 1) * PAGE)))
    })
    this.#mappings.delete(address)
    this.free(address)
    return 0
  }

  withGrantTable(_domid: number, use: (address: number) => void): boolean {
    if (this.grants === undefined) {
      this.#errno = ERRNO.ENOMEM
      return false
    }
    const address = this.alloc(0)
    this.memory.set(address, this.grants)
    use(address)
    this.free(address)
    return true
  }

  errno(): number {
    return this.#errno
  }

  describe(errno: number): string {
    return `words for ${errno}`
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}
