/**
 * openXenHost: runs guests on a Xen host, by a script that knows how to reach it.
 *
 * Source: our own contract with the script, which examples/xen-host.sh fulfils; xl(1), "restore".
 * Gotcha: Xen starts a guest from a save file, so the guest must be built for that purpose.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { SHUTDOWN } from '../abi/hypercall.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { writeSnapshotFile } from '../node/snapshot-files.js'
import { writeXl } from '../snapshot/xen-save.js'
import type { Vaddr } from '../units.js'
import { Console } from './console.js'
import type { Ending, GuestRun, Runner, RunOptions, ShutdownReason } from './guest-run.js'
import { Program } from './program.js'
import { errorOf, requireRunnable, requireRunOptions } from './run-options.js'

/** Milliseconds that a script has to remove the guest after SIGTERM. */
const GRACE = 10_000

/**
 * Returns a Xen host. The script is called as `SCRIPT NAME.xl`, for each run:
 *
 * - The file is one for `xl restore`. The domain in it is called NAME, which no other run has.
 * - The script restores it, and prints the guest's console on standard output.
 * - When the guest has shut down, the script destroys it and exits with Xen's SHUTDOWN_* code: 0 poweroff, 1 reboot,
 *   2 suspend, 3 crash, 4 watchdog, 5 soft_reset. Any other status is a failure, with the reason on standard error.
 * - SIGTERM makes it destroy the guest and exit.
 *
 * The guest's registers and memory stay on the host, so there are no stops and no instants.
 * @param script a path, or a name in PATH. examples/xen-host.sh is one for a host reached by ssh, or this one.
 */
export function openXenHost(script: string): Runner {
  const program = existsSync(script) ? resolve(script) : script
  const requireXen = (domain: Domain, stops: readonly Vaddr[] = []): void => {
    if (stops.length > 0) {
      throw new DomainBuilderError(
        'bad-config',
        'a Xen host has no stops: the registers and the memory of the guest stay there',
      )
    }
    // All checks come before the first page is read.
    writeXl(domain)
  }
  return {
    purpose: 'restore',
    refusal: (domain, { stops } = {}) => errorOf(() => requireXen(domain, stops))?.message,
    async run(domain, options) {
      requireRunOptions(options)
      requireRunnable('Xen', () => requireXen(domain, options.stops))
      options.signal?.throwIfAborted()
      const name = `xdb-${randomBytes(6).toString('hex')}`
      const directory = mkdtempSync(join(tmpdir(), 'xdb-run-'))
      try {
        return await runScript(program, await saveFile({ ...domain, name }, directory, options), options)
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
  }
}

async function saveFile(domain: Domain, directory: string, { signal }: RunOptions): Promise<string> {
  const file = join(directory, `${domain.name}.xl`)
  await writeSnapshotFile(domain, file, { format: 'xl', ...defined({ signal }) })
  return file
}

async function runScript(name: string, file: string, options: RunOptions): Promise<GuestRun> {
  const { timeout, signal, isEnough } = options
  const text = new Console()
  /** The reason for which the script was stopped: an ending, or an error. */
  let stopped: { readonly ending: Ending } | { readonly error: unknown } | undefined
  let grace: NodeJS.Timeout | undefined
  const program = new Program(name, [file], 'SIGTERM')
  const stop = (reason: NonNullable<typeof stopped>): void => {
    if (stopped !== undefined) return
    stopped = reason
    program.kill('SIGTERM')
    grace = setTimeout(() => program.kill('SIGKILL'), GRACE)
  }
  const abort = (): void => stop({ error: signal?.reason })
  const timer = setTimeout(() => stop({ ending: { kind: 'timeout' } }), timeout * 1000)
  signal?.addEventListener('abort', abort, { once: true })
  ;(program.pipe(1) as Readable).on('data', (bytes: Uint8Array) => {
    text.add(bytes)
    try {
      if (isEnough?.(text.text, [])) stop({ ending: { kind: 'enough' } })
    } catch (error) {
      stop({ error })
    }
  })
  try {
    const status = await program.ended
    if (stopped !== undefined && 'error' in stopped) throw stopped.error
    const ending = stopped?.ending ?? endingOf(status)
    if (ending === undefined) throw program.failure()
    return { console: text.text, ending, instants: [], close() {} }
  } finally {
    clearTimeout(timer)
    clearTimeout(grace)
    signal?.removeEventListener('abort', abort)
  }
}

/** Returns the shutdown for a status of the script. */
function endingOf(status: number | undefined): Ending | undefined {
  const found = Object.entries(SHUTDOWN).find(([, code]) => code === status)
  return found && { kind: 'shutdown', reason: found[0] as ShutdownReason }
}
