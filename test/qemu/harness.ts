/**
 * runInQemu runs a guest that we built in QEMU's software emulation, until it ends by itself.
 *
 * Source: qemu(1); ../../lib/snapshot/qemu.ts.
 * Gotcha: a guest ends its machine by a reset, so without -no-reboot QEMU would start it again. A timeout stops others.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Domain } from '../../lib/index.js'
import { writeSnapshotFile } from '../../lib/node/index.js'
import { qemuArguments } from '../../lib/snapshot/qemu.js'
import { findCommand } from '../peer/command.js'
import { cacheDir } from '../peer/paths.js'
import type { Found } from '../peer/require-peer.js'

export const QEMU = 'qemu-system-x86_64'
export const findQemu = (): Promise<Found<string>> => findCommand(QEMU, 'qemu-system-x86')

/**
 * The command line of every Linux here. nokaslr: it runs at the address that we chose. reboot=t: a triple fault, which
 * needs no firmware. no_timer_check: at boot, Linux counts the PIT's interrupts over some 60 ms of the TSC, and panics
 * ("IO-APIC + timer doesn't work!") below five. On a busy machine, QEMU's TSC goes on, and fewer interrupts arrive.
 */
export const LINUX_CMDLINE = 'console=ttyS0 nokaslr reboot=t panic=-1 no_timer_check'

/** Shows the end of the guest's output if a test has failed. */
export function showConsole(t: Test, output: string): void {
  if (!t.passing()) t.comment(`the console ended in:\n${output.slice(-3000)}`)
}

/** The limit of a run; a busy machine takes minutes, an idle one seconds. */
const PATIENCE_SECONDS = 240

/** Runs the act with a new directory, and removes the directory afterwards. */
export async function withDirectory<T>(act: (directory: string) => Promise<T>): Promise<T> {
  mkdirSync(join(cacheDir, 'qemu'), { recursive: true })
  const directory = mkdtempSync(join(cacheDir, 'qemu', 'run-'))
  try {
    return await act(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Writes the files of a snapshot for QEMU. */
export async function writeQemuFiles(domain: Domain, file: string): Promise<void> {
  await writeSnapshotFile(domain, file, { format: 'qemu' })
}

/** Runs the guest, and returns its output on the serial port. */
export function runInQemu(domain: Domain): Promise<string> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeQemuFiles(domain, file)
    return runQemu(qemuArguments(domain, file))
  })
}

/** The same for a guest that never ends: runs it until it has written the awaited text. */
export function runUntil(domain: Domain, awaited: RegExp): Promise<string> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeQemuFiles(domain, file)
    return runQemu(qemuArguments(domain, file), QEMU, awaited)
  })
}

/** Runs QEMU, and returns its standard output. It must end by itself, or it is ended after the awaited text. */
export function runQemu(args: readonly string[], command = QEMU, awaited?: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const qemu = spawn('timeout', ['--kill-after=5', String(PATIENCE_SECONDS), command, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    let complaint = ''
    qemu.stdout.setEncoding('latin1').on('data', (text: string) => {
      output += text
      if (awaited?.test(output)) qemu.kill('SIGTERM')
    })
    qemu.stderr.on('data', (text: Buffer) => {
      complaint += text.toString()
    })
    qemu.on('error', reject)
    qemu.on('close', (status) => {
      if (awaited === undefined ? status === 0 : awaited.test(output)) resolve(output)
      else reject(new Error(`${command} ended with status ${status}: ${complaint.trim()}\n${output.slice(-2000)}`))
    })
  })
}
