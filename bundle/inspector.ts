/**
 * npm run inspector: writes the page that takes a kernel, one file: dist/inspector.html, or the name that is given.
 *
 * Source: ../lib/inspector/html.ts; https://esbuild.github.io/api/
 * Gotcha: the script of the map is a part of the library in the page. `npm run bundle` makes it, so it comes first.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { build } from 'esbuild'
import { helloKernel } from '../examples/hello-kernel.js'
import { linuxKernel, pvhKernel } from '../examples/serial-kernels.js'
import { MAP_SCRIPT } from '../lib/inspect/map-script.js'
import { inspectorHtml } from '../lib/inspector/html.js'
import { ALIAS, pageScript, root } from './common.js'

const script = await build({
  absWorkingDir: root,
  bundle: true,
  minify: true,
  entryPoints: ['lib/inspector/main.ts'],
  format: 'iife',
  target: 'es2022',
  charset: 'utf8',
  mainFields: ['module', 'main'],
  alias: ALIAS,
  plugins: [pageScript],
  legalComments: 'none',
  write: false,
  logLevel: 'warning',
})
const page = inspectorHtml({
  script: script.outputFiles[0]?.text ?? '',
  mapScript: MAP_SCRIPT,
  examples: [
    { name: 'hello.elf', label: 'a PV kernel', bytes: helloKernel() },
    { name: 'hello-pvh.elf', label: 'a PVH kernel', bytes: pvhKernel() },
    { name: 'hello.bzImage', label: 'a Linux bzImage', bytes: linuxKernel() },
  ],
})
const file = resolve(root, process.argv[2] ?? 'dist/inspector.html')
mkdirSync(dirname(file), { recursive: true })
writeFileSync(file, page)
console.log(`${file}: ${Buffer.byteLength(page)} bytes`)
