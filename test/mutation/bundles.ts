/**
 * Bundles unit tests, each with the sources that it reaches, into a function that runs the test file once.
 *
 * Source: https://esbuild.github.io/plugins/
 * Gotcha: every call of the function evaluates the library anew, so a mutant leaves nothing to the next one. Packages
 * are shared: their names are bound when the function is called.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import * as path from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { pageScript } from '../../bundle/common.js'
import { root } from '../sources.js'

/** A test file with all that it reaches. */
export interface Bundle {
  /** The test's path in the repository. */
  readonly file: string
  readonly path: string
  /** Names the content. */
  readonly digest: string
  /** The packages, and modules of Node, that it imports. */
  readonly packages: readonly string[]
  /** The paths of its sources in the repository. */
  readonly sources: readonly string[]
}

/** The parameters of a bundle's function. */
export const PARAMETERS = ['__packages', '__isOn'] as const

/** The folders of the unit tests that need no other program. */
const SUITES = ['guest', 'kernel', 'protocol', 'snapshot']

/** Test files that run other processes or modules, which would be those without a mutant. */
const ELSEWHERE = /\b(?:fork|spawn\w*|execFile\w*)\(|\bnew Worker\(|mockImport\(|requirePeer\(/

/** Test files that take longer than a mutant's tests may. */
const SLOW = ['properties', 'damage', 'formats', 'delta', 'streams', 'sequences']

/** Returns the unit tests whose code runs in one process. */
export function unitTests(): readonly string[] {
  return SUITES.flatMap((suite) =>
    readdirSync(path.join(root, 'test', suite))
      .filter((name) => name.endsWith('.test.ts') && !SLOW.includes(name.replace('.test.ts', '')))
      .map((name) => `test/${suite}/${name}`),
  ).filter((file) => !ELSEWHERE.test(readFileSync(path.join(root, file), 'utf8')))
}

/**
 * Bundles test files.
 * @param replaced the text of sources that are not taken from the repository, by their path there.
 */
export async function bundleTests(
  files: readonly string[],
  replaced: ReadonlyMap<string, string>,
  folder: string,
): Promise<readonly Bundle[]> {
  mkdirSync(folder, { recursive: true })
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...files],
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    outdir: folder,
    outbase: root,
    logLevel: 'error',
    plugins: [pageScript, sourcesWith(replaced), packages],
  })
  return outputFiles.map(({ path: out, text }) => {
    const { entryPoint = '', inputs = {} } = metafile.outputs[path.relative(root, out)] ?? {}
    const name = path.join(folder, `${entryPoint.replaceAll('/', '-')}.js`)
    const code = `(async (${PARAMETERS.join(', ')}) => {\n${text}\n})`
    writeFileSync(name, code)
    return {
      file: entryPoint,
      path: name,
      digest: createHash('sha256').update(code).digest('hex'),
      packages: Object.keys(inputs).flatMap((input) => (input.startsWith('package:') ? [input.slice(8)] : [])),
      sources: Object.keys(inputs).filter((input) => !input.startsWith('package:')),
    }
  })
}

/** Takes sources from their replacements, and gives each the address of its compiled file. */
const sourcesWith = (replaced: ReadonlyMap<string, string>): Plugin => ({
  name: 'sources',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
      const name = path.relative(root, file)
      const text = replaced.get(name) ?? readFileSync(file, 'utf8')
      const url = pathToFileURL(path.join(root, 'dist', name.replace(/\.ts$/, '.js')))
      return { contents: text.replaceAll('import.meta.url', JSON.stringify(url.href)), loader: 'ts' }
    })
  },
})

/** Binds each name that a package exports to the package given. */
const packages: Plugin = {
  name: 'packages',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[^./]/ }, ({ path: name, kind }) =>
      kind === 'entry-point' ? undefined : { path: name, namespace: 'package' },
    )
    onLoad({ filter: /./, namespace: 'package' }, async ({ path: name }) => {
      // To import tap is to begin a test.
      const names = name === 'tap' ? ['default', 'test'] : Object.keys((await import(name)) as object)
      const lines = names.map((one, i) => `const _${i} = all[${JSON.stringify(one)}]; export { _${i} as ${one} }`)
      return { contents: [`const all = __packages.get(${JSON.stringify(name)})`, ...lines].join('\n') }
    })
  },
}
