/**
 * The programs of in-dom0, which import this package by its name.
 *
 * Source: our own; build-node.sh makes what they need in dom0.
 * Gotcha: a program must not start a line with a number in brackets: such a line of the log is a step.
 */
import { join } from 'node:path'
import { projectRoot } from '../peer/paths.js'

/** Returns programs of in-dom0 as they are compiled; a case has each as NAME.mjs. */
export const programs = (...names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [`${name}.mjs`, join(projectRoot, 'dist/test/xen/in-dom0', `${name}.js`)]))
