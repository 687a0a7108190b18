/**
 * xen-domain-builder/runner: runs guests in QEMU or on a Xen host, and captures them, for Node.
 *
 * Source: docs/running.md, "In a program".
 * Gotcha: a guest must be built for the purpose of the machine that runs it.
 *
 * @example
 * ```ts
 * import { buildDomain } from 'xen-domain-builder'
 * import { readKernelFile } from 'xen-domain-builder/node'
 * import { openQemu } from 'xen-domain-builder/runner'
 *
 * const qemu = openQemu()
 * const guest = buildDomain(await readKernelFile('kernel.elf'), { type: 'pvh', memory: 64 * 2 ** 20, purpose: qemu.purpose })
 * const run = await qemu.run(guest, { timeout: 30 })
 * console.log(run.console, run.ending) // hello { kind: 'exit', code: 0 }
 * run.close()
 * ```
 *
 * @module xen-domain-builder/runner
 */
export type { Ending, GuestRun, Instant, Runner, RunOptions, ShutdownReason } from './guest-run.js'
export { openQemu, type QemuRunnerOptions } from './qemu.js'
export { openXenHost } from './xen-host.js'
