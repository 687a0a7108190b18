/**
 * The C of a Xen host: hypercalls and foreign mappings through libxencall and libxenforeignmemory, loaded with koffi.
 *
 * Source: tools/libs/call/include/xencall.h; tools/libs/foreignmemory/include/xenforeignmemory.h;
 * tools/libs/toollog/include/xentoollog.h; https://koffi.dev/
 * Gotcha: these are raw addresses. A length that is too large, or an address that was given back, ends the process; so
 * only the files next to this one use it, and they check every length.
 */
import { accessSync, constants } from 'node:fs'
import { GRANT_TABLE_SHARED, RESOURCE_GRANT_TABLE } from '../abi/memory-op.js'
import { DomainBuilderError } from '../errors.js'
import type { Domid } from '../toolstack/answer.js'

/** An address in this process; 0 stands for no address. */
export type Address = number

/** The functions of C that drive Xen. A result below 0 or an address 0 is a failure, and `errno` tells which. */
export interface Native {
  /** Allocates memory that Xen can reach. */
  alloc(bytes: number): Address
  free(address: Address): void
  /** Copies bytes to an address. */
  write(address: Address, bytes: Uint8Array): void
  /** Fills bytes from an address. */
  read(address: Address, bytes: Uint8Array): void
  zero(address: Address, bytes: number): void
  hypercall(number: number, args: HypercallArguments): number
  /** Makes a long hypercall on another thread, whose `errno` is not known here. */
  hypercallAway(number: number, args: HypercallArguments): Promise<number>
  /** Maps frames of a domain. `errors` gets 0 or a negative errno for each. */
  map(domid: Domid, frames: BigUint64Array, writable: boolean, errors: Int32Array): Address
  unmap(address: Address, pages: number): number
  /** Maps the first page of the grant table of a domain for `use`, and returns false if that failed. */
  withGrantTable(domid: Domid, use: (address: Address) => void): boolean
  errno(): number
  /** Returns the system's words for an errno. */
  describe(errno: number): string
  /** Waits for the calls on other threads, and closes the handles. No function may be called afterwards. */
  close(): Promise<void>
}

/** At most four; 0 for those that are left out. */
export type HypercallArguments = readonly (number | bigint)[]

/** The device, and its older place (libxencall opens the first that is there). */
const DEVICES = ['/dev/xen/privcmd', '/proc/xen/privcmd']
/** PROT_READ and PROT_WRITE of mmap(2). */
const PROT = { read: 1, write: 2 } as const
/** XTL_CRITICAL: the libraries log nothing less. */
const ONLY_CRITICAL = 6

const missing = (message: string, cause?: unknown): DomainBuilderError =>
  new DomainBuilderError('no-hypervisor', message, cause === undefined ? {} : { cause })

/** @throws DomainBuilderError `no-hypervisor` if this is no dom0, or one without the right to drive Xen. */
function requireDevice(devices: readonly string[]): void {
  const failures = devices.map((device) => {
    try {
      accessSync(device, constants.R_OK | constants.W_OK)
      return undefined
    } catch (error) {
      return error as NodeJS.ErrnoException
    }
  })
  if (failures.includes(undefined)) return
  const refused = failures.findIndex((failure) => failure?.code !== 'ENOENT')
  if (refused >= 0) throw missing(`${devices[refused]} cannot be opened: run as root`, failures[refused])
  throw missing(`${devices[0]} is missing: this is not the dom0 of a Xen host`, failures[0])
}

/** @throws DomainBuilderError `no-hypervisor` */
async function importKoffi() {
  try {
    return (await import('koffi')).default
  } catch (cause) {
    const absent = (cause as NodeJS.ErrnoException)?.code === 'ERR_MODULE_NOT_FOUND'
    throw missing(
      absent ? 'koffi is missing: npm install koffi' : `koffi does not work here: ${(cause as Error)?.message}`,
      cause,
    )
  }
}

/**
 * Loads the libraries and opens Xen's device.
 * @throws DomainBuilderError `no-hypervisor`: the first thing that is missing.
 */
export async function openNative(devices: readonly string[] = DEVICES): Promise<Native> {
  requireDevice(devices)
  const koffi = await importKoffi()
  const load = (name: string) => {
    try {
      return koffi.load(name)
    } catch (cause) {
      throw missing(`${name} is missing: it comes with Xen's tools`, cause)
    }
  }
  const toollog = load('libxentoollog.so.1')
  const call = load('libxencall.so.1')
  const foreign = load('libxenforeignmemory.so.1')
  const c = koffi.load(null)
  const write = c.func('void *memcpy(uintptr_t to, const void *from, size_t length)')
  const read = c.func('memcpy', 'void *', ['void *', 'uintptr_t', 'size_t'])
  const memset = c.func('void *memset(uintptr_t to, int byte, size_t length)')
  const strerror = c.func('const char *strerror(int errno)')

  // Without a log, the libraries write to standard error.
  const nowhere = c.func('uintptr_t fopen(const char *name, const char *mode)')('/dev/null', 'w')
  const log = toollog.func('uintptr_t xtl_createlogger_stdiostream(uintptr_t file, int level, unsigned int flags)')(
    nowhere,
    ONLY_CRITICAL,
    0,
  )
  const open = (library: typeof call, name: string): number => {
    const handle: number = library.func(`uintptr_t ${name}(uintptr_t log, unsigned int flags)`)(log, 0)
    if (handle === 0) throw missing(`${DEVICES[0]} cannot be opened: ${strerror(koffi.errno())}`)
    return handle
  }
  const xencall = open(call, 'xencall_open')
  const fmem = open(foreign, 'xenforeignmemory_open')

  const alloc = call.func('uintptr_t xencall_alloc_buffer(uintptr_t handle, size_t bytes)')
  const free = call.func('void xencall_free_buffer(uintptr_t handle, uintptr_t address)')
  const xencall4 = call.func(
    'int xencall4(uintptr_t handle, unsigned int op, uint64_t a, uint64_t b, uint64_t c, uint64_t d)',
  )
  const map = foreign.func(
    'uintptr_t xenforeignmemory_map(uintptr_t handle, uint32_t domid, int prot, size_t pages, const void *frames, void *errors)',
  )
  const unmap = foreign.func('int xenforeignmemory_unmap(uintptr_t handle, uintptr_t address, size_t pages)')
  const mapResource = foreign.func(
    'uintptr_t xenforeignmemory_map_resource(uintptr_t handle, uint16_t domid, unsigned int type, unsigned int id, unsigned long frame, unsigned long count, void *address, int prot, int flags)',
  )
  const unmapResource = foreign.func('int xenforeignmemory_unmap_resource(uintptr_t handle, uintptr_t resource)')

  const away = new Set<Promise<number>>()
  const words = (args: HypercallArguments) => [0, 1, 2, 3].map((i) => args[i] ?? 0)
  return {
    alloc: (bytes) => alloc(xencall, bytes),
    free: (address) => free(xencall, address),
    write: (address, bytes) => void write(address, bytes, bytes.length),
    read: (address, bytes) => void read(bytes, address, bytes.length),
    zero: (address, bytes) => void memset(address, 0, bytes),
    hypercall: (number, args) => xencall4(xencall, number, ...words(args)),
    hypercallAway(number, args) {
      const answer = new Promise<number>((resolve, reject) => {
        xencall4.async(xencall, number, ...words(args), (error: unknown, result: number) =>
          error ? reject(error) : resolve(result),
        )
      }).finally(() => away.delete(answer))
      away.add(answer)
      return answer
    },
    map: (domid, frames, writable, errors) =>
      map(fmem, domid, writable ? PROT.read | PROT.write : PROT.read, frames.length, frames, errors),
    unmap: (address, pages) => unmap(fmem, address, pages),
    withGrantTable(domid, use) {
      const address = new BigUint64Array(1)
      const type = RESOURCE_GRANT_TABLE
      const prot = PROT.read | PROT.write
      const resource = mapResource(fmem, domid, type, GRANT_TABLE_SHARED, 0, 1, address, prot, 0)
      if (resource === 0) return false
      try {
        use(Number(address[0]))
      } finally {
        unmapResource(fmem, resource)
      }
      return true
    },
    errno: () => koffi.errno(),
    describe: (errno) => strerror(errno),
    async close() {
      await Promise.allSettled(away)
      call.func('int xencall_close(uintptr_t handle)')(xencall)
      foreign.func('int xenforeignmemory_close(uintptr_t handle)')(fmem)
      toollog.func('void xtl_logger_destroy(uintptr_t log)')(log)
      c.func('int fclose(uintptr_t file)')(nowhere)
    },
  }
}
