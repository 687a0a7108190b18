/**
 * Hypercalls: requests to Xen as bytes, in the versions of its interfaces.
 *
 * Source: xen/include/public/{domctl,sysctl,memory,version}.h.
 * Gotcha: Xen reads and writes only memory that libxencall allocated, so every buffer is a copy: in before the call,
 * and back after it, also after a refused one.
 */
import {
  DOMCTL,
  DOMCTL_INTERFACES,
  DOMCTL_VERSIONS,
  Domctl,
  type DomctlInterface,
  type DomctlName,
} from '../abi/domctl.js'
import { HYPERCALL, XENVER_VERSION } from '../abi/hypercall.js'
import { type MemoryOpName, XENMEM } from '../abi/memory-op.js'
import { SYSCTL, SYSCTL_VERSIONS, Sysctl, type SysctlName } from '../abi/sysctl.js'
import { NEWEST_XEN, releaseNumbers, XEN_RELEASES, type XenRelease } from '../abi/xen-release.js'
import { DomainBuilderError } from '../errors.js'
import type { Domid } from '../toolstack/answer.js'
import { hex } from '../units.js'
import { breathe } from '../work.js'
import type { HypercallArguments, Native } from './native.js'
import { errnoName, Refused } from './refused.js'

/** Xen asks for the same call again. */
const AGAIN: readonly string[] = ['EINTR', 'ERESTART']
const NOTHING: Uint8Array = new Uint8Array(0)
const DOM0 = 0

/** Requests to one Xen. */
export class Hypercalls {
  readonly native: Native
  readonly release: XenRelease
  readonly domctls: DomctlInterface
  readonly #sysctlVersion: number
  #isClosed = false

  /** @throws DomainBuilderError `no-hypervisor` for a Xen whose interfaces are unknown. */
  constructor(native: Native) {
    this.native = native
    const version = this.call('xen_version', undefined, HYPERCALL.xen_version, [XENVER_VERSION, 0])
    const found = `${version >> 16}.${version & 0xffff}`
    this.release = nearestRelease(found)
    this.domctls = probe(found, 'domctl', DOMCTL_INTERFACES, DOMCTL_VERSIONS[this.release], ({ version }) =>
      this.#domctl(version, 'getdomaininfo', DOM0, NOTHING),
    )
    const sysctls = [...new Set(Object.values(SYSCTL_VERSIONS))].map((version) => ({ version }))
    this.#sysctlVersion = probe(found, 'sysctl', sysctls, SYSCTL_VERSIONS[this.release], ({ version }) =>
      this.#sysctl(version, 'physinfo', NOTHING),
    ).version
  }

  /** Closes the libraries; every later request is refused. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.native.close()
  }

  /** @throws DomainBuilderError `hypercall-failed` after close(). */
  requireOpen(): void {
    if (this.#isClosed) throw new DomainBuilderError('hypercall-failed', 'the connection to Xen is closed')
  }

  /** Returns the error for the last failure of a function of C. */
  refused(what: string, domid: Domid | undefined, errno = this.native.errno()): Refused {
    return new Refused(what, domid, errno, this.native.describe(errno))
  }

  /** Makes a hypercall. @throws Refused */
  call(what: string, domid: Domid | undefined, number: number, args: HypercallArguments): number {
    this.requireOpen()
    for (;;) {
      const result = this.native.hypercall(number, args)
      if (result >= 0) return result
      const errno = this.native.errno()
      if (!AGAIN.includes(errnoName(errno))) throw this.refused(what, domid, errno)
    }
  }

  /** Gives `use` the address of a copy of some bytes, and copies it back into them. */
  withBuffer<T>(bytes: Uint8Array, use: (address: bigint) => T): T {
    this.requireOpen()
    // A null pointer often means something else than a buffer without bytes.
    const address = this.native.alloc(Math.max(bytes.length, 1))
    if (address === 0) throw this.refused('xencall_alloc_buffer', undefined)
    try {
      if (bytes.length > 0) this.native.write(address, bytes)
      try {
        return use(BigInt(address))
      } finally {
        if (bytes.length > 0) this.native.read(address, bytes)
      }
    } finally {
      this.native.free(address)
    }
  }

  /** Makes a request about a domain. Xen's answer replaces `u`. Returns the domain's number. @throws Refused */
  domctl(name: DomctlName, domid: Domid, u = NOTHING): Domid {
    return this.#domctl(this.domctls.version, name, domid, u)
  }

  /** Makes a request about the host. Xen's answer replaces `u`. @throws Refused */
  sysctl(name: SysctlName, u: Uint8Array): void {
    this.#sysctl(this.#sysctlVersion, name, u)
  }

  /** Makes a request about memory. Xen's answer replaces `argument`. @throws Refused */
  memoryOp(name: MemoryOpName, domid: Domid, argument: Uint8Array): number {
    return this.withBuffer(argument, (address) => this.call(name, domid, HYPERCALL.memory_op, [XENMEM[name], address]))
  }

  /** Makes a request that can take seconds, such as destroydomain, without stopping the event loop. @throws Refused */
  async longDomctl(name: DomctlName, domid: Domid): Promise<void> {
    this.requireOpen()
    const request = encodeDomctl(this.domctls.version, name, domid, NOTHING)
    const address = this.native.alloc(request.length)
    if (address === 0) throw this.refused('xencall_alloc_buffer', undefined)
    try {
      for (;;) {
        this.native.write(address, request)
        if ((await this.native.hypercallAway(HYPERCALL.domctl, [address])) >= 0) return
        // The other thread knows the errno. The same request here, of which less is left, tells it.
        try {
          this.call(name, domid, HYPERCALL.domctl, [address])
          return
        } catch (error) {
          if (!(error instanceof Refused) || error.errno !== 'EAGAIN') throw error
        }
        await breathe()
      }
    } finally {
      this.native.free(address)
    }
  }

  #domctl(version: number, name: DomctlName, domid: Domid, u: Uint8Array): Domid {
    const request = encodeDomctl(version, name, domid, u)
    try {
      this.withBuffer(request, (address) => this.call(name, domid, HYPERCALL.domctl, [address]))
      return Domctl.decode(request).domain
    } finally {
      u.set(request.subarray(Domctl.offsetOf('u'), Domctl.offsetOf('u') + u.length))
    }
  }

  #sysctl(version: number, name: SysctlName, u: Uint8Array): void {
    const at = Sysctl.offsetOf('u')
    const request = Sysctl.encode({ ...Sysctl.zero, cmd: SYSCTL[name], interface_version: version })
    request.set(u, at)
    try {
      this.withBuffer(request, (address) => this.call(name, undefined, HYPERCALL.sysctl, [address]))
    } finally {
      u.set(request.subarray(at, at + u.length))
    }
  }
}

/** Returns struct xen_domctl. */
function encodeDomctl(version: number, name: DomctlName, domid: Domid, u: Uint8Array): Uint8Array {
  const request = Domctl.encode({ ...Domctl.zero, cmd: DOMCTL[name], interface_version: version, domain: domid })
  request.set(u, Domctl.offsetOf('u'))
  return request
}

/** Returns a known release, or the newest for a newer one. @throws DomainBuilderError `no-hypervisor` for an older one. */
function nearestRelease(found: string): XenRelease {
  const known = XEN_RELEASES.find((release) => release === found)
  if (known !== undefined) return known
  const [major = 0, minor = 0] = found.split('.').map(Number)
  const [newestMajor, newestMinor] = releaseNumbers(NEWEST_XEN)
  if (major > newestMajor || (major === newestMajor && minor > newestMinor)) return NEWEST_XEN
  throw new DomainBuilderError('no-hypervisor', `Xen ${found} is too old`, {
    expected: `${XEN_RELEASES[0]} or newer`,
  })
}

/** Returns the version that Xen accepts; that of its release is tried first. @throws DomainBuilderError `no-hypervisor` */
function probe<T extends { readonly version: number }>(
  xen: string,
  name: string,
  known: readonly T[],
  likely: number,
  ask: (version: T) => unknown,
): T {
  const likelyFirst = [...known].sort((a, b) => Number(b.version === likely) - Number(a.version === likely))
  for (const version of likelyFirst) {
    try {
      ask(version)
      return version
    } catch (error) {
      if (!(error instanceof Refused) || error.errno !== 'EACCES') throw error
    }
  }
  throw new DomainBuilderError('no-hypervisor', `the ${name} interface of Xen ${xen} is unknown`, {
    expected: known.map(({ version }) => hex(version)).join(', '),
  })
}
