/**
 * Makes free memory of the system memory that it has.
 *
 * Source: https://docs.kernel.org/mm/free_page_reporting.html: a virtual machine's free memory goes back to its host.
 * Gotcha: memory that the host took back is slow to get, by a factor of six. Whoever writes a file into the page cache first
 * would pay for it.
 */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'

const MiB = 2 ** 20
/** More than a measured run takes, page cache included. */
const TOUCHED = 512 * MiB

/** @param name of a file that there is not, on the same file system. */
export function touchMemory(name: string): void {
  const piece = new Uint8Array(MiB).fill(1)
  const fd = openSync(name, 'wx')
  for (let done = 0; done < TOUCHED; done += MiB) writeSync(fd, piece)
  closeSync(fd)
  rmSync(name)
}
