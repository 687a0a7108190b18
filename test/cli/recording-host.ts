/**
 * A Xen host in memory for the command: `node --import` of this file replaces openXen in that process.
 *
 * Source: https://nodejs.org/api/module.html#customization-hooks; ../../lib/testing/recording-xen.
 * Gotcha: each process has a new host, so a watcher in the background would find no domain: it ends at once. HOST in the
 * environment describes the host, as JSON.
 */
import { writeFileSync } from 'node:fs'
import { register } from 'node:module'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { readKernel, type XenRelease } from '../../lib/index.js'
import { RecordingXen } from '../../lib/testing/index.js'
import { launch } from '../../lib/toolstack/launch.js'
import type { LaunchConfig } from '../../lib/toolstack/launch-config.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

/** The host. */
export interface HostDescription {
  /** Domains that run on it from the beginning. */
  readonly domains?: readonly (LaunchConfig & { readonly type: 'pv' | 'pvh' })[]
  /** The release of its Xen; default the newest. */
  readonly release?: XenRelease
  /** Nodes of its xenstore. */
  readonly nodes?: Readonly<Record<string, string>>
  /** The terminal at which xenconsoled serves each domain; none if it is absent. */
  readonly tty?: string
  /** The reasons for which the domains end that the command starts, in order. The others go on. */
  readonly ends?: readonly (keyof typeof SHUTDOWN)[]
  /** The reason for which the domains end that are there at first; they go on without one. */
  readonly end?: keyof typeof SHUTDOWN
  /** The call at which the process gets SIGTERM. */
  readonly stopAt?: string
  /** The file that gets the state at the end, as JSON. */
  readonly state: string
}

/** The state of the host when the command has ended. */
export interface HostState {
  readonly leftovers: readonly string[]
  readonly calls: readonly string[]
  readonly running: readonly number[]
}

/** Set for the processes that a command starts in the background. */
const BACKGROUND = 'XDB_TEST_BACKGROUND'
if (process.env[BACKGROUND] !== undefined) process.exit()

const HOOK = `export const resolve = (specifier, context, next) =>
  specifier.endsWith('/live/open-xen.js') ? { url: ${JSON.stringify(import.meta.url)}, shortCircuit: true } : next(specifier, context)`
register(`data:text/javascript,${encodeURIComponent(HOOK)}`)

class Host extends RecordingXen {
  readonly #host: HostDescription
  readonly #ends: (keyof typeof SHUTDOWN)[]
  isCommand = false

  constructor(host: HostDescription) {
    super({
      ...(host.release && { release: host.release }),
      onCall: ({ name }) => {
        if (this.isCommand && name === host.stopAt) process.emit('SIGTERM', 'SIGTERM')
      },
    })
    this.#host = host
    this.#ends = [...(host.ends ?? [])]
    // A process that a signal ends has no event for that.
    const kill = process.kill.bind(process)
    process.kill = (pid, signal) => {
      this.save()
      return kill(pid, signal)
    }
  }

  /** Starts the domains that are there at first. */
  async begin(): Promise<void> {
    for (const config of this.#host.domains ?? []) {
      const kernel = await readKernel(config.type === 'pv' ? pvKernelFile() : pvhKernelFile())
      const { domid } = await launch(this, kernel, config)
      await this.#serve(domid)
      await this.#answerTo(domid)
      if (this.#host.end !== undefined) this.#endSoon(domid, this.#host.end)
    }
    for (const [path, value] of Object.entries(this.#host.nodes ?? {})) await this.store.write(path, value)
    this.isCommand = true
  }

  async #serve(domid: number): Promise<void> {
    const { tty } = this.#host
    if (tty !== undefined) await this.store.write(`/local/domain/${domid}/console/tty`, tty)
  }

  override createDomain(...args: Parameters<RecordingXen['createDomain']>): number {
    const domid = super.createDomain(...args)
    // As xenconsoled does, some time after the introduction.
    if (this.isCommand) setTimeout(() => this.#serve(domid), 200)
    return domid
  }

  override unpauseDomain(domid: number): void {
    super.unpauseDomain(domid)
    const reason = this.isCommand ? this.#ends.shift() : undefined
    if (reason !== undefined) this.#endSoon(domid, reason)
  }

  #endSoon(domid: number, reason: keyof typeof SHUTDOWN): void {
    setTimeout(() => this.shutDown(domid, SHUTDOWN[reason]), 100)
  }

  /** Lets a guest suspend itself when it is asked to. */
  async #answerTo(domid: number): Promise<void> {
    const node = `/local/domain/${domid}/control/shutdown`
    await this.store.watch(node, async () => {
      if ((await this.store.read(node)) !== 'suspend') return
      await this.store.write(node, '')
      this.shutDown(domid, SHUTDOWN.suspend)
    })
  }

  save(): void {
    const state: HostState = {
      leftovers: this.leftovers().filter((left) => !left.endsWith('/control/shutdown')),
      calls: this.calls.map(({ name }) => name),
      running: this.listDomains().flatMap(({ domid, paused }) => (paused || domid === 0 ? [] : [domid])),
    }
    writeFileSync(this.#host.state, JSON.stringify(state))
  }

  async close(): Promise<void> {
    this.save()
  }
}

export async function openXen(): Promise<Host> {
  process.env[BACKGROUND] = 'yes'
  const host = new Host(JSON.parse(process.env.HOST ?? '{}') as HostDescription)
  await host.begin()
  return host
}
