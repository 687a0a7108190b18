/**
 * run SNAPSHOT: starts a guest in qemu-system-x86_64, its console on standard output.
 *
 * Source: ../snapshot/qemu.ts, ../snapshot/qemu-stream.ts; qemu(1).
 * Gotcha: the arguments are made from the guest, never read from the sidecar, which may be untrusted. Only the user's
 * words after the snapshot are passed on.
 */
import { spawn } from 'node:child_process'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DomainBuilderError } from '../errors.js'
import { cannotStart } from '../runner/program.js'
import { qemuArguments } from '../snapshot/qemu.js'
import { DEFAULT_MACHINE, QEMU, QEMU_MACHINE_NAMES, qemuStreamArguments } from '../snapshot/qemu-machine.js'
import { writeQemuStream } from '../snapshot/qemu-stream.js'
import type { SnapshotFile } from '../snapshot/snapshot-file.js'
import { type Command, oneOf, Refused, UsageError } from './command.js'
import { exists } from './files.js'
import { openDomain } from './input.js'
import { machineOption } from './output.js'

/** The number of the file in which QEMU reads a stream: the one after its standard files. */
const STREAM_FD = 3

export const command: Command = {
  usage: 'run SNAPSHOT [--machine MACHINE] [-- QEMU-OPTION...]',
  help: `Starts the guest of a snapshot, its console on standard output. The snapshot may have any format. A boot ROM next to it, from build --format qemu, enters the guest; otherwise QEMU gets the guest as a migration stream.
Words after -- go to ${QEMU} unchanged, after the options of this command. Exit status 0 if the guest ends by itself.`,
  options: {
    machine: { ...machineOption, help: `QEMU's machine, without a boot ROM (default ${DEFAULT_MACHINE})` },
  },
  operands: [
    { name: 'SNAPSHOT', file: true },
    { name: 'QEMU-OPTION', repeated: true },
  ],
  examples: ['run guest', 'run guest -- -cpu max', 'run guest.mig --machine q35'],
  async run({ values, positionals, json, progress }) {
    if (json) throw new UsageError("run has no JSON answer: standard output is the guest's console")
    const [name = '', ...more] = positionals
    const machine = oneOf(values, 'machine', QEMU_MACHINE_NAMES)
    const domain = await openDomain(name, progress)
    progress.end()
    const file = name.replace(/\.json$/, '')
    const rom = `${file}.rom`
    if (exists(rom)) {
      if (machine !== undefined) throw new UsageError(`--machine is for a guest without a boot ROM; ${rom} exists`)
      if ((await start([...qemuArguments(domain, file), ...more])) !== 0) throw new Refused()
      return
    }
    const stream = writeQemuStream(domain, machine && { machine })
    if ((await start([...qemuStreamArguments(domain, STREAM_FD, machine), ...more], stream)) !== 0) throw new Refused()
  },
}

/** Runs until the guest ends; a signal that stops us stops it. */
function start(args: readonly string[], stream?: SnapshotFile): Promise<number> {
  return new Promise((resolve, reject) => {
    const qemu = spawn(QEMU, args, { stdio: ['inherit', 'inherit', 'inherit', stream ? 'pipe' : 'ignore'] })
    const stop = (signal: NodeJS.Signals) => qemu.kill(signal)
    process.on('SIGINT', stop).on('SIGTERM', stop)
    qemu.on('error', (cause: NodeJS.ErrnoException) => reject(cannotStart(QEMU, cause)))
    if (stream) {
      pipeline(Readable.from(stream), qemu.stdio[STREAM_FD] as Writable).catch((error) => {
        // A QEMU that ends before it has read the stream has said why.
        if (!(error instanceof DomainBuilderError)) return
        qemu.kill()
        reject(error)
      })
    }
    qemu.on('close', (status) => {
      process.off('SIGINT', stop).off('SIGTERM', stop)
      resolve(status ?? 1)
    })
  })
}
