/**
 * The parts that every bundle shares.
 *
 * Source: https://esbuild.github.io/api/
 * Gotcha: elfy needs two modules of Node, of which a browser gets the few functions that it calls.
 */
import { fileURLToPath } from 'node:url'
import type { Plugin } from 'esbuild'

/** The folder of the repository; this file runs in dist/bundle. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/** The modules of Node that elfy needs, and their stand-in. */
export const ALIAS = { util: './bundle/elfy-needs.cjs', assert: './bundle/elfy-needs.cjs' } as const

/** The script of the map's page as a module that exports its text; the unbundled library in dist/lib imports it too. */
export const PAGE_SCRIPT = `${root}dist/lib/inspect/map-script.js`

/** Resolves that module. */
export const pageScript: Plugin = {
  name: 'page-script',
  setup({ onResolve }) {
    onResolve({ filter: /\/map-script\.js$/ }, () => ({ path: PAGE_SCRIPT }))
  },
}
