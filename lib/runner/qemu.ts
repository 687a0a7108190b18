/**
 * openQemu: runs guests in qemu-system-x86_64, by a stream or by a boot ROM.
 *
 * Source: qemu(1); QEMU docs/interop/qmp-spec.rst, hw/misc/debugexit.c, hw/char/debugcon.c, softmmu/runstate.c.
 * Gotcha: isa-debug-exit ends QEMU at once, before anything can be captured, and its status has 7 bits of the byte.
 * So the port is an isa-debugcon here, and the machine is stopped when the byte arrives. A guest may run some
 * milliseconds longer: it must not return from its exit, but halt.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { QemuMachineName } from '../abi/qemu-machines.js'
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { inRealMode, type Vcpu } from '../guest/vcpu.js'
import { openSnapshotFile, writeSnapshotFile } from '../node/snapshot-files.js'
import { qemuArguments, qemuFormat } from '../snapshot/qemu.js'
import { QEMU, QEMU_MACHINE_NAMES, qemuStreamArguments, shellWord } from '../snapshot/qemu-machine.js'
import { streamParts } from '../snapshot/qemu-stream.js'
import { makeSnapshot } from '../snapshot/write.js'
import { supervisedEnd } from '../supervisor/ending.js'
import { supervise } from '../supervisor/supervise.js'
import type { Vaddr } from '../units.js'
import { continued } from './captured.js'
import { Console } from './console.js'
import { SIGTRAP } from './gdb-remote.js'
import type { Ending, GuestRun, Instant, Runner, RunOptions } from './guest-run.js'
import { QemuProcess, STREAM_FD } from './qemu-process.js'
import type { QmpEvent } from './qmp.js'
import { errorOf, requireRunnable, requireRunOptions } from './run-options.js'

/** The options for running guests in QEMU. */
export interface QemuRunnerOptions {
  /**
   * How a guest gets into QEMU: as a migration stream (the qemu-stream format), or by a boot ROM of ours (the qemu
   * format). Default: the stream, and the ROM for a guest in real mode, which needs a BIOS.
   */
  readonly how?: 'stream' | 'rom'
  /** QEMU's machine for a stream. Default: the smallest that has room for the guest; it has no keyboard controller. */
  readonly machine?: QemuMachineName
  /** The program, by name or path. Default: qemu-system-x86_64. */
  readonly qemu?: string
}

/** A guest that QEMU can run. */
interface Prepared {
  /** The guest, or the machine with the supervisor that it is in. */
  readonly domain: Domain
  /** The machine of a stream; absent for a ROM. */
  readonly machine?: QemuMachineName
}

/** A start of a guest: the arguments, and the files that belong to them. */
interface Start {
  readonly args: readonly string[]
  readonly stream?: Iterable<Uint8Array>
}

/**
 * Returns a machine of QEMU's software emulation. Guests of type linux, and pvh of platform pc, run as they are. A 64-bit
 * PV guest runs under the supervisor of supervise(), which has the hypercalls of a guest's first instants. The smallest
 * machine that has the guest's memory is chosen. Its devices are those of `xdb run`. In addition, a byte that the guest
 * writes to port 0xf4 ends the run.
 * @example
 * ```ts
 * const qemu = openQemu()
 * const guest = buildDomain(kernel, { type: 'pvh', memory: 64 * 2 ** 20, purpose: qemu.purpose })
 * const { console, ending, instants, close } = await qemu.run(guest, { timeout: 30 })
 * close()
 * ```
 */
export function openQemu({ how, machine, qemu = QEMU }: QemuRunnerOptions = {}): Runner {
  const machines = machine === undefined ? QEMU_MACHINE_NAMES : [machine]
  const prepare = (guest: Domain): Prepared => {
    const domain = guest.type === 'pv' ? supervise(guest) : guest
    const [vcpu] = domain.vcpus
    if ((how ?? (vcpu && inRealMode(vcpu) ? 'rom' : 'stream')) === 'stream') {
      return { domain, machine: machineFor(domain, machines) }
    }
    qemuFormat.write(domain)
    return { domain }
  }
  return {
    purpose: 'vmm',
    refusal: (domain) => errorOf(() => prepare(domain))?.message,
    async run(domain, options) {
      requireRunOptions(options)
      const prepared = requireRunnable('QEMU', () => prepare(domain))
      options.signal?.throwIfAborted()
      const directory = mkdtempSync(join(tmpdir(), 'xdb-run-'))
      try {
        const start = await (prepared.machine ? stream(prepared, options) : rom(prepared, directory, options))
        return await new QemuRun(domain, options, directory).run(qemu, start)
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
  }
}

/**
 * Returns the first of these machines that has room for the guest.
 * @throws DomainBuilderError the refusal of the first, if none has.
 */
function machineFor(domain: Domain, machines: readonly QemuMachineName[]): QemuMachineName {
  const refusals = machines.map((machine) => {
    // All checks come before the first page is read.
    return { machine, refusal: errorOf(() => streamParts(domain, { machine }).next()) }
  })
  const found = refusals.find(({ refusal }) => refusal === undefined)
  if (found === undefined) throw refusals[0]?.refusal
  return found.machine
}

async function stream({ domain, machine }: Prepared, { signal }: RunOptions): Promise<Start> {
  const [file] = await makeSnapshot(domain, 'qemu-stream', defined({ machine, signal }))
  return { args: qemuStreamArguments(domain, STREAM_FD, machine), stream: file as Iterable<Uint8Array> }
}

async function rom({ domain }: Prepared, directory: string, { signal }: RunOptions): Promise<Start> {
  const file = join(directory, 'guest')
  await writeSnapshotFile(domain, file, { format: 'qemu', ...defined({ signal }) })
  return { args: qemuArguments(domain, file) }
}

/** One run. */
class QemuRun {
  readonly #domain: Domain
  readonly #options: RunOptions
  readonly #directory: string
  readonly #console = new Console()
  readonly #instants: Instant[] = []
  readonly #opened: (() => void)[] = []
  /** The addresses at which the guest has not arrived yet. */
  readonly #ahead: Set<Vaddr>
  #ending: Ending | undefined
  #onEnding: () => void = () => {}
  /** Is fulfilled as soon as there is an ending. */
  readonly #ended = new Promise<undefined>((resolve) => {
    this.#onEnding = () => resolve(undefined)
  })
  /** Milliseconds that the guest may run longer. */
  #left: number

  constructor(domain: Domain, options: RunOptions, directory: string) {
    this.#domain = domain
    this.#options = options
    this.#directory = directory
    this.#ahead = new Set(options.stops)
    this.#left = options.timeout * 1000
  }

  async run(program: string, { args, stream }: Start): Promise<GuestRun> {
    const { signal } = this.#options
    const debugs = this.#ahead.size > 0
    // The guest waits until it is told to go on. Where it resets or turns off the machine, QEMU only stops it.
    const qemu = new QemuProcess([...args, '-S', '-no-shutdown'], {
      program,
      debugs,
      ...defined({ stream }),
      onEvent: (event) => this.#happened(event),
      onExit: (code) => this.#end({ kind: 'exit', code }),
      onConsole: (bytes) => this.#wrote(bytes, qemu),
    })
    const abort = (): void => qemu.stop(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    try {
      await qemu.qmp.open()
      for (const at of this.#ahead) await qemu.gdb.setBreakpoint(at, true)
      let arrived: Domain | undefined
      while (this.#ending === undefined) {
        arrived = undefined
        const stop = await this.#limited(qemu, debugs ? qemu.gdb.runOn() : qemu.qmp.ask('cont').then(() => this.#ended))
        if (stop?.signal === SIGTRAP) arrived = await this.#arrived(qemu, stop.cpu)
        // An event tells the reason of any other stop.
        else if (stop !== undefined) await this.#limited(qemu, this.#ended)
      }
      await qemu.qmp.ask('stop')
      // QEMU does not save a machine again that has not run since.
      this.#instants.push({ at: 'end', guest: arrived ?? (await this.#save(qemu)) })
    } catch (error) {
      this.#close()
      throw error
    } finally {
      signal?.removeEventListener('abort', abort)
      await qemu.end()
    }
    return {
      ...this.#result(this.#ending),
      instants: this.#instants,
      close: () => this.#close(),
    }
  }

  /** Returns the ending and the console; the supervisor tells its guest's ending by a status and a line. */
  #result(ending: Ending): Pick<GuestRun, 'ending' | 'console'> {
    const { text: console } = this.#console
    const isSupervised = this.#domain.type === 'pv' && ending.kind === 'exit'
    return (isSupervised ? supervisedEnd(ending.code, console) : undefined) ?? { ending, console }
  }

  /** Waits until the guest has done something or has ended, but not longer than it may run. */
  async #limited<T>({ failed }: QemuProcess, done: Promise<T>): Promise<T | undefined> {
    const from = performance.now()
    const timer = setTimeout(() => this.#end({ kind: 'timeout' }), this.#left)
    try {
      return await Promise.race([failed, this.#ended, done])
    } finally {
      clearTimeout(timer)
      this.#left -= performance.now() - from
    }
  }

  #happened({ event, data }: QmpEvent): void {
    if (event === 'SUSPEND') this.#end({ kind: 'shutdown', reason: 'suspend' })
    if (event !== 'SHUTDOWN') return
    if (data?.reason === 'guest-reset') this.#end({ kind: 'reset' })
    if (data?.reason === 'guest-shutdown') this.#end({ kind: 'shutdown', reason: 'poweroff' })
  }

  #wrote(bytes: Uint8Array, qemu: QemuProcess): void {
    this.#console.add(bytes)
    this.#look(qemu)
  }

  /** Ends a run that has shown enough. */
  #look(qemu: QemuProcess): void {
    try {
      if (this.#options.isEnough?.(this.#console.text, this.#instants)) this.#end({ kind: 'enough' })
    } catch (error) {
      qemu.stop(error)
    }
  }

  /** Sets the ending: the first one, except that a guest which wrote its status has done so before a reset. */
  #end(ending: Ending): void {
    const isEarlier = ending.kind === 'exit' && (this.#ending?.kind === 'reset' || this.#ending?.kind === 'shutdown')
    if (this.#ending === undefined || isEarlier) this.#ending = ending
    this.#onEnding()
  }

  /** Keeps the guest at a breakpoint, which is removed. Returns it. */
  async #arrived(qemu: QemuProcess, cpu: number): Promise<Domain> {
    const guest = await this.#save(qemu)
    const { registers, segments } = guest.vcpus[cpu] as Vcpu
    const at = registers.rip + (segments.cs.descriptor?.base ?? 0n)
    await qemu.gdb.setBreakpoint(at, false)
    this.#ahead.delete(at)
    this.#instants.push({ at, guest })
    this.#look(qemu)
    return guest
  }

  /** Returns the guest in the stopped machine. Its file has no name any more. */
  async #save({ qmp }: QemuProcess): Promise<Domain> {
    const file = join(this.#directory, 'saved')
    await qmp.save(`cat > ${shellWord(file)}`)
    const { domain, close } = await openSnapshotFile(file)
    this.#opened.push(close)
    rmSync(file)
    return continued(this.#domain, domain)
  }

  #close(): void {
    for (const close of this.#opened.splice(0)) close()
  }
}
