/**
 * Makes the system's free memory resident, so that its host has already provided it.
 *
 * Source: https://docs.kernel.org/mm/free_page_reporting.html: a virtual machine's free memory goes back to its host.
 * Gotcha: memory that the host took back is slower to get, by a factor of six. Without this, the first process that
 * writes a file into the page cache would pay for it.
 */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'

const MiB = 2 ** 20
/** Bytes: more than a measured run takes, page cache included. */
const TOUCHED = 512 * MiB

/** @param name of a file that does not exist, on the same file system. */
export function touchMemory(name: string): void {
  const piece = new Uint8Array(MiB).fill(1)
  const fd = openSync(name, 'wx')
  for (let done = 0; done < TOUCHED; done += MiB) writeSync(fd, piece)
  closeSync(fd)
  rmSync(name)
}
