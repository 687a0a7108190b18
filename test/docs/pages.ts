/**
 * Every page of documentation, the test that types it, and the programs that its reader needs with the package.
 *
 * Source: the pages; blocks.test.ts checks that this list is complete.
 * Gotcha: a missing program skips its page here, and fails it in CI.
 */
import { findCommands } from '../peer/command.js'
import type { Found } from '../peer/require-peer.js'

interface Page {
  readonly test: string
  /** Programs and their Debian packages. */
  readonly needs?: readonly (readonly [program: string, from: string])[]
}

const guides = { test: 'test/docs/guides.long.ts' } as const

export const PAGES: Readonly<Record<string, Page>> = {
  'README.md': { test: 'test/docs/readme.long.ts' },
  'docs/toolstack.md': guides,
  'docs/snapshots.md': {
    ...guides,
    needs: [
      ['gdb', 'gdb'],
      ['readelf', 'binutils'],
    ],
  },
  'docs/unit-tests.md': guides,
  'docs/commands.md': guides,
  'docs/inspector.md': guides,
  'docs/created-and-restored.md': guides,
  'docs/xl-cfg.md': guides,
  'docs/untrusted.md': guides,
  'docs/pv.md': guides,
  'docs/xen-releases.md': guides,
  'docs/pvh.md': guides,
  'docs/dom0.md': guides,
  'docs/linux-entry.md': guides,
  'docs/formats.md': guides,
  'docs/symbols.md': guides,
  'docs/assurance.md': guides,
  'docs/errors.md': { ...guides, needs: [['xz', 'xz-utils']] },
  'docs/running.md': { test: 'test/qemu/docs.qemu.ts', needs: [['readelf', 'binutils']] },
}

/** Returns the pages that a test types. */
export const pagesOf = (test: string): string[] =>
  Object.entries(PAGES).flatMap(([page, by]) => (by.test === test ? [page] : []))

/** Whether a page's programs are installed, for requirePeer(). */
export async function findNeeds(page: string): Promise<Found<string>> {
  const found = await findCommands(...(PAGES[page]?.needs ?? []))
  return 'missing' in found ? found : { found: page }
}
