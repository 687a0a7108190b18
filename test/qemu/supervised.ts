/**
 * runSupervised runs a PV guest under the supervisor in QEMU.
 *
 * Source: qemu(1); QEMU's isa-debug-exit.
 * Gotcha: QEMU ends with twice the byte plus one.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Domain } from '../../lib/index.js'
import { writeSnapshotFile } from '../../lib/node/index.js'
import { qemuArguments } from '../../lib/snapshot/qemu.js'
import { qemuStreamArguments } from '../../lib/snapshot/qemu-machine.js'
import { type SupervisedEnding, supervise, supervisedEnd } from '../../lib/testing/index.js'
import { QEMU, withDirectory } from './harness.js'

const PATIENCE_MS = 120_000

interface Ended {
  readonly ending: SupervisedEnding | undefined
  readonly console: string
}

/** Runs a guest until the supervisor ends it. */
export function runSupervised(guest: Domain, how: 'qemu' | 'qemu-stream' = 'qemu-stream'): Promise<Ended> {
  const machine = supervise(guest)
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeSnapshotFile(machine, file, { format: how })
    const args = how === 'qemu' ? qemuArguments(machine, file) : qemuStreamArguments(machine, file)
    return new Promise((resolve, reject) => {
      const exit = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
      const qemu = spawn(QEMU, [...args, ...exit], { stdio: ['ignore', 'pipe', 'inherit'], timeout: PATIENCE_MS })
      let console = ''
      qemu.stdout.setEncoding('latin1').on('data', (text: string) => {
        console += text
      })
      qemu.on('error', reject)
      qemu.on('close', (status) => {
        const end = supervisedEnd(((status ?? 0) - 1) / 2, console)
        resolve(end ?? { ending: undefined, console: `${console}\nQEMU ended with status ${status}` })
      })
    })
  })
}
