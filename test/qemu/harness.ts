/**
 * runInQemu: a guest as we built it, in QEMU's software emulation, until it ends by itself.
 *
 * Source: qemu(1); ../../lib/snapshot/qemu.ts.
 * Gotcha: a guest ends its machine by a reset, which -no-reboot turns into QEMU's end. What does not end is stopped.
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
 * What every Linux here is told. nokaslr: where it runs is then what we chose. reboot=t: a triple fault, which needs no
 * firmware. no_timer_check: at boot Linux counts the PIT's interrupts over some 60 ms of the TSC, and panics ("IO-APIC +
 * timer doesn't work!") below five; on a busy machine QEMU's emulation keeps the TSC going and delivers fewer.
 */
export const LINUX_CMDLINE = 'console=ttyS0 nokaslr reboot=t panic=-1 no_timer_check'

/** Where a test has failed, the last that its guest said. */
export function showConsole(t: Test, output: string): void {
  if (!t.passing()) t.comment(`the console ended in:\n${output.slice(-3000)}`)
}

/** Minutes on a machine that is busy; seconds on one that is not. */
const PATIENCE_SECONDS = 240

/** A directory of its own for whatever the act needs, gone afterwards. */
export async function withDirectory<T>(act: (directory: string) => Promise<T>): Promise<T> {
  mkdirSync(join(cacheDir, 'qemu'), { recursive: true })
  const directory = mkdtempSync(join(cacheDir, 'qemu', 'run-'))
  try {
    return await act(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The files of a snapshot for QEMU. */
export async function writeQemuFiles(domain: Domain, file: string): Promise<void> {
  await writeSnapshotFile(domain, file, { format: 'qemu' })
}

/** Everything that the guest wrote to its serial port. */
export function runInQemu(domain: Domain): Promise<string> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeQemuFiles(domain, file)
    return runQemu(qemuArguments(domain, file))
  })
}

/** The same of a guest that never ends: until it has written what it is waited for. */
export function runUntil(domain: Domain, awaited: RegExp): Promise<string> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeQemuFiles(domain, file)
    return runQemu(qemuArguments(domain, file), QEMU, awaited)
  })
}

/** Standard output of QEMU, which must end by itself, or is ended once it has written what is awaited. */
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
