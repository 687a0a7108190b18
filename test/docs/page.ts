/**
 * Checks a page of documentation: runs each block, compares the output with the page, type-checks the programs.
 *
 * Source: blocks.ts, for the blocks that a page may hold.
 * Gotcha: DOCS_WRITE=1 writes the output into the page, where the page shows all of it. A wrong output would then look
 * right, so check the diff before you keep it.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { fetchedKernels } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { type Block, blocksOf, isForServer } from './blocks.js'
import { runsElsewhere } from './elsewhere.js'
import { installInto } from './package.js'
import { type Typed, typeBlocks } from './session.js'
import { isShown } from './shown.js'

/** One checked item, and its fault. */
export interface Finding {
  readonly name: string
  readonly wrong?: string
}

/** The beginning of the line in which a command refuses; its exit code is then not 0. */
const REFUSAL = /^xen-domain-builder: /

/** The reader's other packages: TypeScript and a test runner, as if installed by name. */
const TOOLS = ['typescript', '@types/node', 'undici-types', 'vitest'] as const

export const readPage = (page: string): string => readFileSync(join(projectRoot, page), 'utf8')

/** Whether the fetched Debian kernel is the one that the pages were written with. */
export function isKernelOfThePages(): boolean {
  const version = fetchedKernels().find(({ name }) => name === 'debian-amd64')?.version
  return version !== undefined && readPage('README.md').includes(`Debian's linux-image-amd64 ${version}`)
}

/** Makes the folder of a reader: a project with the package, everything that the pages assume, and a kernel. */
export function projectIn(directory: string, vmlinuz: string): string {
  mkdirSync(directory)
  installInto(directory)
  const modules = join(directory, 'node_modules')
  for (const folder of ['.bin', '@types']) mkdirSync(join(modules, folder), { recursive: true })
  for (const name of TOOLS) symlinkSync(join(projectRoot, 'node_modules', name), join(modules, name))
  for (const name of ['tsc', 'vitest']) {
    symlinkSync(join(projectRoot, 'node_modules/.bin', name), join(modules, '.bin', name))
  }
  copyFileSync(vmlinuz, join(directory, 'vmlinuz'))
  return directory
}

/** Compares the output of one command with its page. */
function commandFinding({ command, shown, output, status }: Typed, exact: boolean): Finding {
  const name = command.split('\n')[0] ?? ''
  const refused = shown.some((text) => REFUSAL.test(text))
  if (status === undefined) return { name, wrong: `the shell did not come so far; it said:\n${output}` }
  if (refused ? status !== 1 && status !== 2 : status !== 0) {
    return { name, wrong: `exit code ${status}:\n${output.slice(-3000)}` }
  }
  if (isShown(shown, output, exact)) return { name }
  return { name, wrong: `the page shows\n${shown.join('\n')}\nand what came out is\n${output}` }
}

/** Type-checks programs as a strict project does. @param files relative to the directory */
export function typeFinding(directory: string, files: readonly string[]): Finding {
  const tsc = join(projectRoot, 'node_modules/typescript/bin/tsc')
  const { stdout, status } = spawnSync(
    process.execPath,
    [
      ...[tsc, '--noEmit', '--strict', '--noUncheckedIndexedAccess', '--allowJs', '--checkJs', '--skipLibCheck'],
      ...['--target', 'es2023', '--module', 'nodenext', '--types', 'node'],
      ...['--typeRoots', join(projectRoot, 'node_modules/@types'), ...files],
    ],
    { cwd: directory, encoding: 'utf8' },
  )
  return { name: `tsc ${files.join(' ')}`, ...(status === 0 ? {} : { wrong: stdout }) }
}

interface Findings {
  readonly findings: readonly Finding[]
  readonly typed: readonly Typed[]
  /** The programs, for typeFinding(). */
  readonly programs: readonly string[]
}

/** Types these blocks in a directory that has the package. @param start the directory of the first line. */
export function findingsOfBlocks(
  blocks: readonly Block[],
  directory: string,
  exact: boolean,
  start?: string,
): Findings {
  const typed = typeBlocks(blocks, directory, start)
  const files = blocks.flatMap((block) => (block.kind === 'file' ? [block.name] : []))
  const words = new Set(typed.flatMap(({ command }) => command.split(/\s+/)))
  // A declaration is for the compiler alone.
  const unrun = files.filter((name) => !/\.d\.mts$/.test(name) && !words.has(name.replace(/\.mts$/, '.mjs')))
  const programs = files.filter((name) => /\.m[jt]s$/.test(name))
  const findings = [
    ...typed.map((command) => commandFinding(command, exact)),
    ...unrun.map((name) => ({ name, wrong: 'no command runs it' })),
  ]
  return { findings, typed, programs }
}

/** The same for the blocks of a page that are for this machine. */
export function findingsOf(markdown: string, directory: string, exact: boolean, start?: string): Findings {
  const blocks = blocksOf(markdown).filter((block) => !isForServer(block) && !runsElsewhere(block))
  return findingsOfBlocks(blocks, directory, exact, start)
}

/** Writes the output into the page, where the page shows all of it. */
function rewrite(page: string, typed: readonly Typed[]): void {
  const lines = readPage(page).split('\n')
  for (const { line, command, shown, output } of [...typed].reverse()) {
    if (isShown(shown, output, true) || shown.some((text) => text.includes('...'))) continue
    const whole = output.replace(/\n$/, '')
    lines.splice(line - 1 + command.split('\n').length, shown.length, ...(whole === '' ? [] : whole.split('\n')))
  }
  writeFileSync(join(projectRoot, page), lines.join('\n'))
}

function report(t: Test, page: string, { name, wrong }: Finding): void {
  if (wrong === undefined) t.pass(`${page}: ${name}`)
  else t.fail(`${page}: ${name}`, { wrong })
}

/** Checks a page, with one assertion for each finding. Returns the page's programs, for checkTypes(). */
export function checkPage(t: Test, page: string, directory: string, start?: string): readonly string[] {
  const { findings, typed, programs } = findingsOf(readPage(page), directory, isKernelOfThePages(), start)
  if (process.env.DOCS_WRITE === '1') rewrite(page, typed)
  for (const finding of findings) report(t, page, finding)
  return programs
}

/** Type-checks the programs of pages. The compiler reads its own libraries once, for all of them. */
export function checkTypes(t: Test, directory: string, programs: readonly string[]): void {
  if (programs.length > 0) report(t, 'types', typeFinding(directory, programs))
}
