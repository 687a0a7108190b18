/**
 * What the pages show and the tests of pages do not type, with who does.
 *
 * Source: the pages themselves: blocks.test.ts holds this list to be all of it, and no more.
 * Gotcha: nothing is here because it is hard. What needs a Xen host is not here either: test/xen has one.
 */
import type { Block } from './blocks.js'

/** By the command: what else runs it. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  'npm ci && npm start': '.ci/bare, and .ci/run as a step of its own',
  'npm ci && npm test': '.ci/bare, and .ci/run as a step of its own',
}

/** Whether every command of a session is in that list. */
export const runsElsewhere = (block: Block): boolean =>
  block.kind === 'session' && block.commands.every(({ command }) => Object.hasOwn(ELSEWHERE, command))
