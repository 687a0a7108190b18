/**
 * A toolstack for one guest: what `xl create` does for a guest.cfg, with progress and the guest's console.
 *
 * Source: xl(1), "create"; docs/toolstack.md, "On a running Xen".
 * Gotcha: nothing else removes the domain when its guest stops, so this program runs as long as the guest. If a signal
 * ends it, the guest goes on. A signal during the launch undoes the launch.
 *
 *     node dist/examples/toolstack.js guest.cfg
 */
import { readFileSync, realpathSync } from 'node:fs'
import { DomainBuilderError, readXlCfg } from 'xen-domain-builder'
import { type Hypervisor, type LaunchProgress, launch, openConsole, openXen } from 'xen-domain-builder/live'
import { readKernelFile } from 'xen-domain-builder/node'

const LEAVE = 0x1d // Ctrl-]

/** Shows the progress of a launch on a terminal. */
function showProgress({ step, done, total }: LaunchProgress): void {
  if (!process.stderr.isTTY) return
  const percent = Math.floor((100 * done) / total)
  process.stderr.write(`\r\x1b[K${step} ${percent}%${done === total ? '\r\x1b[K' : ''}`)
}

/** Copies keys to the guest and its output to the screen, until the guest ends or Ctrl-] is typed. */
async function showConsole(xen: Hypervisor, domid: number, signal: AbortSignal): Promise<() => void> {
  const console = await openConsole(xen, domid, { signal })
  const keys = process.stdin
  const typed = (bytes: Buffer) => (bytes.includes(LEAVE) ? leave() : console.write(bytes))
  const leave = () => {
    if (keys.isTTY) keys.setRawMode(false)
    keys.off('data', typed).pause()
    console.destroy()
  }
  if (keys.isTTY) keys.setRawMode(true)
  keys.on('data', typed)
  console.on('data', (bytes: Buffer) => process.stdout.write(bytes)).on('end', leave)
  return leave
}

/** Makes the guest of an xl.cfg, again after each reboot, until it ends. Returns the reason. */
export async function run(xen: Hypervisor, file: string, signal: AbortSignal, attached = true): Promise<string> {
  const { kernel, ramdisk, config, notCarried } = readXlCfg(readFileSync(file, 'utf8'))
  if (kernel === undefined) throw new DomainBuilderError('bad-config', `${file} names no kernel`)
  if (notCarried.length > 0)
    throw new DomainBuilderError('bad-config', `${file} needs xl create for ${notCarried.join(', ')}`)
  for (;;) {
    const guest = await launch(
      xen,
      await readKernelFile(kernel),
      {
        memory: 128 * 2 ** 20,
        ...config,
        ramdisk: ramdisk === undefined ? [] : readFileSync(ramdisk),
      },
      // It starts when its console is open, so that no output is lost.
      { signal, onProgress: showProgress, paused: true },
    )
    const { name } = guest.domain
    console.error(`${name}: domain ${guest.domid}${attached ? ', Ctrl-] leaves its console' : ''}`)
    let leave = () => {}
    try {
      if (attached) leave = await showConsole(xen, guest.domid, signal)
      await xen.unpauseDomain(guest.domid)
      const { reason, action } = await guest.ended({ signal })
      if (action !== 'restart') return `${name}: ${reason}`
    } catch (error) {
      // The signal leaves a guest that runs. Any other failure, of the console for example, leaves nothing.
      if (!signal.aborted) await guest.destroy()
      throw error
    } finally {
      leave()
    }
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  const [, , file] = process.argv
  const abort = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => abort.abort())
  try {
    if (file === undefined) throw new DomainBuilderError('bad-config', 'the argument is missing: toolstack guest.cfg')
    const xen = await openXen()
    try {
      console.error(await run(xen, file, abort.signal, process.stdout.isTTY))
    } finally {
      await xen.close()
    }
  } catch (error) {
    // Refusals, errors of the file system and the signal are one line. Any other error is a bug and keeps its stack.
    const isKnown = error instanceof DomainBuilderError || (error instanceof Error && 'syscall' in error)
    if (!isKnown && !abort.signal.aborted) throw error
    console.error(error instanceof DomainBuilderError ? `${error.code}: ${error.message}` : (error as Error).message)
    process.exitCode = 1
  }
}
