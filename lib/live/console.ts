/**
 * The console of a domain: the terminal that xenconsoled serves it at.
 *
 * Source: Xen docs/misc/console.txt; tools/console/client/main.c (the facts, not the code).
 * Gotcha: xenconsoled keeps output until a reader comes, but not after the domain is gone. A program that needs all of it
 * opens the console of a domain that is still paused.
 */
import { constants, openSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { ReadStream } from 'node:tty'
import { DomainBuilderError } from '../errors.js'
import { cannotRead } from '../node/refusal.js'
import type { Domid } from '../toolstack/answer.js'
import type { Hypervisor } from '../toolstack/hypervisor.js'
import { consoleTtyNode } from '../toolstack/store-nodes.js'
import { untilSeen } from '../toolstack/until-seen.js'

/** Milliseconds that xenconsoled has to make the terminal, as with `xl console`. */
const PATIENCE = 5000

/**
 * Opens the console of a domain, as `xl console` does.
 *
 * Bytes of the guest are read from the stream, beginning with those that no reader has taken yet. Bytes written go to the
 * guest. The stream ends with the domain; `destroy()` leaves it, and the domain goes on.
 *
 * @throws DomainBuilderError `no-domain`; `no-hypervisor` if xenconsoled does not serve the domain within 5 s;
 *   `cannot-read` for a terminal that cannot be opened; the signal's reason.
 *
 * @example
 * ```ts
 * const guest = await launch(xen, kernel, config, { paused: true })
 * const console = await openConsole(xen, guest.domid)
 * await xen.unpauseDomain(guest.domid)
 * for await (const bytes of console) process.stdout.write(bytes)
 * ```
 */
export async function openConsole(
  xen: Pick<Hypervisor, 'store' | 'domainInfo'>,
  domid: Domid,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Duplex> {
  const { store } = xen
  if ((await xen.domainInfo(domid)) === undefined) {
    throw new DomainBuilderError('no-domain', `domain ${domid} does not exist`)
  }
  const node = consoleTtyNode(domid)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), PATIENCE)
  const either = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal])
  try {
    return openTerminal(await untilSeen(store, node, async () => (await store.read(node)) || undefined, either))
  } catch (error) {
    if (!late.signal.aborted) throw error
    throw new DomainBuilderError('no-hypervisor', `domain ${domid} has no console: xenconsoled does not serve it`)
  } finally {
    clearTimeout(timer)
  }
}

/** @throws DomainBuilderError `cannot-read` */
function openTerminal(tty: string): Duplex {
  let terminal: ReadStream
  try {
    // Without O_NOCTTY it would become the terminal whose Ctrl-C ends this process.
    terminal = new ReadStream(openSync(tty, constants.O_RDWR | constants.O_NOCTTY))
  } catch (cause) {
    throw cannotRead(tty, cause)
  }
  const stream = new Duplex({
    read: () => void terminal.resume(),
    write: (bytes, _encoding, done) => void terminal.write(bytes, done),
    final: (done) => done(),
    destroy(error, done) {
      terminal.destroy()
      done(error)
    },
  })
  const end = () => void stream.push(null)
  terminal.on('data', (bytes: Buffer) => {
    if (!stream.push(bytes)) terminal.pause()
  })
  // A terminal whose other side is closed, by xenconsoled, answers with EIO.
  terminal.on('error', end).on('end', end)
  return stream
}
