/**
 * A guest's memory as a manifest: each run of non-zero pages with its sha256. Goldens keep it instead of an image.
 *
 * Source: our own; the format of test/golden's manifest.json.
 * Gotcha: a page of zeros ends a run even if it was written, so a manifest does not depend on how zeros were made.
 */
import { createHash } from 'node:crypto'
import { type GuestMemory, PAGE_SIZE } from '../../lib/index.js'

export interface ManifestRun {
  readonly pfn: number
  readonly pages: number
  readonly sha256: string
}

export interface Manifest {
  /** The number of bytes from the first page to the end of the last. */
  readonly size: number
  readonly nonzero_runs: readonly ManifestRun[]
}

const ZERO_PAGE = Buffer.alloc(PAGE_SIZE)

export function memoryManifest(memory: GuestMemory): Manifest {
  const runs: ManifestRun[] = []
  let hash = createHash('sha256')
  let first = 0
  let pages = 0
  const finish = () => {
    if (pages > 0) runs.push({ pfn: first, pages, sha256: hash.digest('hex') })
    if (pages > 0) hash = createHash('sha256')
    pages = 0
  }
  const page = Buffer.alloc(PAGE_SIZE)
  for (const run of memory.pages()) {
    for (let pfn = run.pfn; pfn < run.pfn + run.pages; pfn++) {
      memory.readInto(pfn * PAGE_SIZE, page)
      if (page.equals(ZERO_PAGE)) continue
      if (pfn !== first + pages) {
        finish()
        first = pfn
      }
      hash.update(page)
      pages++
    }
  }
  finish()
  return { size: memory.endPfn * PAGE_SIZE, nonzero_runs: runs }
}
