/** Every page of documentation, and the test that types it. */
export const PAGES = {
  'README.md': 'test/docs/readme.test.ts',
  'docs/toolstack.md': 'test/docs/guides.test.ts',
  'docs/snapshots.md': 'test/docs/guides.test.ts',
  'docs/unit-tests.md': 'test/docs/guides.test.ts',
  'docs/commands.md': 'test/docs/guides.test.ts',
  'docs/xl-cfg.md': 'test/docs/guides.test.ts',
  'docs/errors.md': 'test/docs/guides.test.ts',
  'docs/running.md': 'test/qemu/docs.qemu.ts',
} as const satisfies Readonly<Record<string, string>>

/** The pages that one of them types. */
export const pagesOf = (test: string): string[] =>
  Object.entries(PAGES).flatMap(([page, by]) => (by === test ? [page] : []))
