/**
 * Commands on the pages that the tests of pages do not type, and the job that runs each of them.
 *
 * Source: the pages themselves: blocks.test.ts checks that this list is complete and has nothing else.
 * Gotcha: do not list a command because it is hard to test, or because it needs a Xen host: test/xen has one.
 */
import type { Block } from './blocks.js'

/** The job that runs each command, by the command. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  'npm ci && npm start': '.ci/bare, and .ci/run as a separate step',
  'npm ci && npm test': '.ci/bare, and .ci/run as a separate step',
}

/** Whether every command of a session is in that list. */
export const runsElsewhere = (block: Block): boolean =>
  block.kind === 'session' && block.commands.every(({ command }) => Object.hasOwn(ELSEWHERE, command))
