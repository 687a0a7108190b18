/** Runs examples/toolstack.ts on a hypervisor in memory, and as a user does on a machine without Xen. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { RecordingXen } from 'xen-domain-builder/testing'
import { run } from '../../examples/toolstack.js'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { projectRoot } from '../peer/paths.js'

/** A host on which something happens a moment after each start of a guest. */
class Host extends RecordingXen {
  readonly #afterStart: (domid: number) => void

  constructor(afterStart: (this: Host, domid: number) => void) {
    super()
    this.#afterStart = afterStart.bind(this)
  }

  override unpauseDomain(domid: number): void {
    super.unpauseDomain(domid)
    setTimeout(() => this.#afterStart(domid), 10)
  }
}

const never = new AbortController().signal

test('it makes the guest of a file, again after a reboot, and removes it', async (t) => {
  const dir = t.testdir({ kernel: Buffer.from(pvKernelFile()) })
  const file = join(dir, 'guest.cfg')
  writeFileSync(file, `name = "web"\nkernel = "${join(dir, 'kernel')}"\nmemory = 16\n`)
  const reasons = [SHUTDOWN.reboot, SHUTDOWN.poweroff]
  const xen = new Host(function (domid) {
    this.shutDown(domid, reasons.shift())
  })
  t.equal(await run(xen, file, never, false), 'web: poweroff')
  t.equal(xen.calls.filter(({ name }) => name === 'createDomain').length, 2)
  t.same(xen.leftovers(), [])
})

test('a signal leaves the guest, and a file for xl alone is refused', async (t) => {
  const dir = t.testdir({ kernel: Buffer.from(pvKernelFile()) })
  const file = join(dir, 'guest.cfg')
  writeFileSync(file, `kernel = "${join(dir, 'kernel')}"\nmemory = 16\n`)
  const abort = new AbortController()
  const xen = new Host(() => abort.abort(new Error('stop')))
  await t.rejects(run(xen, file, abort.signal, false), { message: 'stop' })
  t.equal(xen.domain(1)?.running, true)
  writeFileSync(file, 'kernel = "kernel"\ncpus = "2"\n')
  await t.rejects(run(xen, file, never, false), { message: /needs xl create for cpus/ })
})

test('without a Xen it is one line', (t) => {
  for (const [args, line] of [
    [['guest.cfg'], /^no-hypervisor: [^\n]+\n$/],
    [[], /^bad-config: the argument is missing[^\n]+\n$/],
  ] as const) {
    const ran = spawnSync(process.execPath, [join(projectRoot, 'dist/examples/toolstack.js'), ...args])
    t.equal(ran.status, 1)
    t.match(ran.stderr.toString(), line)
  }
  t.end()
})
