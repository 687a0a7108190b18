/**
 * run SNAPSHOT: starts a qemu snapshot in qemu-system-x86_64, its console on standard output.
 *
 * Source: ../snapshot/qemu.ts; qemu(1).
 * Gotcha: the arguments are made from the guest, never read from the sidecar, which may be untrusted. Only the user's
 * words after the snapshot are passed on.
 */
import { spawn } from 'node:child_process'
import { DomainBuilderError } from '../errors.js'
import { qemuArguments } from '../snapshot/qemu.js'
import { QEMU } from '../snapshot/qemu-machine.js'
import { type Command, Refused, UsageError } from './command.js'
import { exists } from './files.js'
import { openDomain } from './input.js'

export const command: Command = {
  usage: 'run SNAPSHOT [-- QEMU-OPTION...]',
  help: `Starts a snapshot that build --format qemu wrote, its console on standard output.
Words after -- go to ${QEMU} unchanged, after the options of this command. Exit status 0 if the guest ends by itself.`,
  options: {},
  operands: [
    { name: 'SNAPSHOT', file: true },
    { name: 'QEMU-OPTION', repeated: true },
  ],
  examples: ['run guest', 'run guest -- -cpu max'],
  async run({ positionals, json, progress }) {
    if (json) throw new UsageError("run has no JSON answer: standard output is the guest's console")
    const [name = '', ...more] = positionals
    const domain = await openDomain(name, progress)
    progress.end()
    const file = name.replace(/\.json$/, '')
    if (!exists(`${file}.rom`)) {
      throw new DomainBuilderError('cannot-read', `${file}.rom: the boot ROM of the snapshot is missing`, {
        expected: 'the file that build --format qemu writes',
      })
    }
    const status = await start([...qemuArguments(domain, file), ...more])
    if (status !== 0) throw new Refused()
  },
}

/** Runs until the guest ends; a signal that stops us stops it. */
function start(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const qemu = spawn(QEMU, args, { stdio: 'inherit' })
    const stop = (signal: NodeJS.Signals) => qemu.kill(signal)
    process.on('SIGINT', stop).on('SIGTERM', stop)
    qemu.on('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'ENOENT' ? 'it is not installed, or not in PATH' : cause.message
      reject(new DomainBuilderError('cannot-read', `${QEMU} cannot be started: ${why}`, { cause }))
    })
    qemu.on('close', (status) => {
      process.off('SIGINT', stop).off('SIGTERM', stop)
      resolve(status ?? 1)
    })
  })
}
