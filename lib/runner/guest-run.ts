/**
 * A run of a guest: its console, how it ended, and the guest as it was at chosen instants. Each machine that can run
 * guests is a `Runner`.
 *
 * Source: our own design; SHUTDOWN_* of xen/include/public/sched.h; QEMU hw/misc/debugexit.c.
 * Gotcha: an instant is a Domain as any other. An expectation about a built guest applies to it unchanged.
 */
import type { SHUTDOWN } from '../abi/hypercall.js'
import type { Domain } from '../guest/domain.js'
import type { Purpose } from '../guest/purpose.js'
import type { Vaddr } from '../units.js'

/** A reason with which a guest asks its hypervisor to stop it: the name of one of Xen's SHUTDOWN_* codes. */
export type ShutdownReason = keyof typeof SHUTDOWN

/**
 * How a run ended.
 *
 * - `exit`: the guest wrote `code`, one byte, to the isa-debug-exit device at port 0xf4.
 * - `reset`: the guest reset the machine, or had a triple fault.
 * - `shutdown`: the guest turned the machine off, or asked its hypervisor for a shutdown.
 * - `hypercall`: the guest made a hypercall that the supervisor lacks, such as `mmu_update`.
 * - `exception`: the guest had an exception without a handler under the supervisor.
 * - `timeout`: the guest ran for the seconds of {@link RunOptions.timeout}.
 * - `enough`: {@link RunOptions.isEnough} returned true.
 */
export type Ending =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'reset' }
  | { readonly kind: 'shutdown'; readonly reason: ShutdownReason }
  | { readonly kind: 'hypercall'; readonly name: string }
  | { readonly kind: 'exception'; readonly vector: number; readonly rip: bigint }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'enough' }

/** The options of a run. */
export interface RunOptions {
  /** The seconds after which the guest is stopped, counted from its first instruction. */
  readonly timeout: number
  /** Stops the run: the guest and all its files are removed, and the signal's reason is thrown. */
  readonly signal?: AbortSignal
  /** The guest is captured on its first arrival at each of these addresses, before the instruction there runs. */
  readonly stops?: readonly Vaddr[]
  /**
   * Stops the guest if it returns true. It gets the console and the instants so far, each time that the guest has written
   * more or has arrived at a stop.
   */
  readonly isEnough?: (console: string, instants: readonly Instant[]) => boolean
}

/** A guest in the middle of its run, or at the end: its registers and its memory. */
export interface Instant {
  /** The linear address where a vcpu was about to run an instruction, or the end of the run. */
  readonly at: Vaddr | 'end'
  /** The captured guest. */
  readonly guest: Domain
}

/** The result of a run. */
export interface GuestRun {
  /** The guest's console as text, decoded as UTF-8. The middle of a very long one is left out, and a line says so. */
  readonly console: string
  readonly ending: Ending
  /** In the order of time; the end is the last one, if the machine can capture it. */
  readonly instants: readonly Instant[]
  /** Frees the memory of the captured guests. Pages that were not read before are then refused as `cannot-read`. */
  close(): void
}

/** A machine that can run guests. */
export interface Runner {
  /** The purpose for which a guest must be built to run here. */
  readonly purpose: Purpose
  /**
   * Returns the reason why this machine cannot run the guest, or undefined if it can. The options matter as well: not
   * every machine has stops.
   */
  refusal(domain: Domain, options?: Pick<RunOptions, 'stops'>): string | undefined
  /**
   * Runs a guest to its end. No process and no file is left, whatever happens.
   * @throws DomainBuilderError `bad-config` for a guest that `refusal` names; `cannot-read` or `no-hypervisor` if the
   * program that runs guests is missing or fails; the signal's reason.
   */
  run(domain: Domain, options: RunOptions): Promise<GuestRun>
}
