/**
 * Every page of documentation, the test that types it, and what its reader must have besides the package.
 *
 * Source: the pages; blocks.test.ts holds this list to be all of them.
 * Gotcha: a program that is missing skips its page here, and fails it in CI.
 */
import { findCommands } from '../peer/command.js'
import type { Found } from '../peer/require-peer.js'

interface Page {
  readonly test: string
  /** Programs, with Debian's package. */
  readonly needs?: readonly (readonly [program: string, from: string])[]
}

const guides = { test: 'test/docs/guides.test.ts' } as const

export const PAGES: Readonly<Record<string, Page>> = {
  'README.md': { test: 'test/docs/readme.test.ts' },
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
  'docs/xl-cfg.md': guides,
  'docs/untrusted.md': guides,
  'docs/errors.md': { ...guides, needs: [['xz', 'xz-utils']] },
  'docs/running.md': { test: 'test/qemu/docs.qemu.ts', needs: [['readelf', 'binutils']] },
}

/** The pages that one of the tests types. */
export const pagesOf = (test: string): string[] =>
  Object.entries(PAGES).flatMap(([page, by]) => (by.test === test ? [page] : []))

/** Whether all that a page needs is there, for requirePeer(). */
export async function findNeeds(page: string): Promise<Found<string>> {
  const found = await findCommands(...(PAGES[page]?.needs ?? []))
  return 'missing' in found ? found : { found: page }
}
