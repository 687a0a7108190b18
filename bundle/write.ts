/**
 * npm run bundle: makes the script of the map's page, and writes the published files into dist/package: libraries,
 * command, licences of the bundled packages, SBOM.
 *
 * Source: https://esbuild.github.io/api/
 * Gotcha: with its packages left out, a library that is bundled again would need modules of Node. So the libraries
 * include their packages. The two halves share nothing: ARCHITECTURE.md, "The published package".
 * Gotcha: without preserveSymlinks, a linked node_modules puts its path into the files, and so into the names of chunks.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type BuildOptions, build, type Plugin } from 'esbuild'
import { ALIAS, PAGE_SCRIPT, pageScript, root } from './common.js'
import { bundledFiles, foldersOf, type Locked, licencesOf } from './packages.js'
import { sbomOf } from './sbom.js'

const out = 'dist/package'

/**
 * Each entry also imports the library's. Otherwise esbuild makes a shared file for each set of entries that use the same
 * modules, and an import of the library opens all of them.
 */
const oneSharedFile: Plugin = {
  name: 'one-shared-file',
  setup({ onLoad }) {
    onLoad({ filter: /\/lib\/(?:live|node|runner|testing)\/index\.ts$/ }, ({ path }) => ({
      contents: `${readFileSync(path, 'utf8')}\nimport '../index.js'\n`,
      loader: 'ts',
    }))
  },
}

const COMMON = {
  absWorkingDir: root,
  bundle: true,
  preserveSymlinks: true,
  splitting: true,
  format: 'esm',
  target: 'node20',
  external: ['node:*', 'koffi'],
  mainFields: ['module', 'main'],
  alias: ALIAS,
  plugins: [pageScript],
  metafile: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
  outbase: 'lib',
  outdir: out,
} as const satisfies BuildOptions

const script = await build({
  absWorkingDir: root,
  bundle: true,
  entryPoints: ['lib/inspect/map-client/main.ts'],
  format: 'iife',
  target: 'es2022',
  charset: 'utf8',
  write: false,
  logLevel: 'warning',
})
mkdirSync(dirname(PAGE_SCRIPT), { recursive: true })
writeFileSync(PAGE_SCRIPT, `export const MAP_SCRIPT = ${JSON.stringify(script.outputFiles[0]?.text)}\n`)

rmSync(root + out, { recursive: true, force: true })
const bundles = [
  await build({
    ...COMMON,
    // Entries for one runtime only are not resolved.
    platform: 'neutral',
    plugins: [...COMMON.plugins, oneSharedFile],
    logOverride: { 'ignored-bare-import': 'silent' },
    entryPoints: [
      'lib/index.ts',
      'lib/live/index.ts',
      'lib/node/index.ts',
      'lib/runner/index.ts',
      'lib/testing/index.ts',
    ],
    chunkNames: 'shared/[name]-[hash]',
  }),
  await build({ ...COMMON, platform: 'node', entryPoints: ['lib/cli/main.ts'], chunkNames: 'cli/[name]-[hash]' }),
]
const files = bundledFiles(bundles.map(({ metafile }) => metafile))
const bundled = foldersOf(files)
const nameOf = (folder: string): string => folder.replace(/^.*node_modules\//, '')
const notices = bundled.map((folder) => `## ${nameOf(folder)}\n\n${licencesOf(folder, files)}\n`)
writeFileSync(
  `${root}${out}/THIRD-PARTY-LICENSES.md`,
  `# Packages whose code is in these files\n\n${notices.join('\n')}`,
)
const json = <T>(name: string): T => JSON.parse(readFileSync(root + name, 'utf8')) as T
const { packages } = json<{ packages: Locked }>('package-lock.json')
const sbom = sbomOf(json('package.json'), packages, bundled)
writeFileSync(`${root}${out}/sbom.cdx.json`, `${JSON.stringify(sbom, null, 2)}\n`)
