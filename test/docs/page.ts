/**
 * A page of documentation held to what it says: each block run, what it shows compared, its programs type-checked.
 *
 * Source: blocks.ts says what a page may hold.
 * Gotcha: DOCS_WRITE=1 writes what came out into the page, where the page shows all of it; look at the diff before you keep it.
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

/** One thing that was looked at, and what is wrong with it. */
export interface Finding {
  readonly name: string
  readonly wrong?: string
}

/** A command that says no does so in a line like this, and with an exit code that is not 0. */
const REFUSAL = /^xen-domain-builder: /

/** What a reader has beside the package: TypeScript and a test runner, as if installed by name. */
const TOOLS = ['typescript', '@types/node', 'undici-types', 'vitest'] as const

export const readPage = (page: string): string => readFileSync(join(projectRoot, page), 'utf8')

/** Whether Debian's kernel is the one that the pages were written with. */
export function isKernelOfThePages(): boolean {
  const version = fetchedKernels().find(({ name }) => name === 'debian-amd64')?.version
  return version !== undefined && readPage('README.md').includes(`Debian's linux-image-amd64 ${version}`)
}

/** A folder as its reader has it: a project with the package and what the pages take for granted, and a kernel in it. */
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

/** Holds one command to what its page shows of it. */
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

/** Programs of a page, checked as a strict project would. */
function typeFinding(directory: string, files: readonly string[]): Finding {
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
}

/** What holds of these blocks, typed in a directory that has the package. @param start where the first line is typed. */
export function findingsOfBlocks(
  blocks: readonly Block[],
  directory: string,
  exact: boolean,
  start?: string,
): Findings {
  const typed = typeBlocks(blocks, directory, start)
  const files = blocks.flatMap((block) => (block.kind === 'file' ? [block.name] : []))
  const words = new Set(typed.flatMap(({ command }) => command.split(/\s+/)))
  const unrun = files.filter((name) => !words.has(name.replace(/\.mts$/, '.mjs')))
  const programs = files.filter((name) => /\.m[jt]s$/.test(name))
  const findings = [
    ...typed.map((command) => commandFinding(command, exact)),
    ...unrun.map((name) => ({ name, wrong: 'no command runs it' })),
    ...(programs.length > 0 ? [typeFinding(directory, programs)] : []),
  ]
  return { findings, typed }
}

/** The same of all of a page that is for this machine. */
export function findingsOf(markdown: string, directory: string, exact: boolean, start?: string): Findings {
  const blocks = blocksOf(markdown).filter((block) => !isForServer(block) && !runsElsewhere(block))
  return findingsOfBlocks(blocks, directory, exact, start)
}

/** Writes what came out where the page shows all of it. */
function rewrite(page: string, typed: readonly Typed[]): void {
  const lines = readPage(page).split('\n')
  for (const { line, command, shown, output } of [...typed].reverse()) {
    if (isShown(shown, output, true) || shown.some((text) => text.includes('...'))) continue
    const whole = output.replace(/\n$/, '')
    lines.splice(line - 1 + command.split('\n').length, shown.length, ...(whole === '' ? [] : whole.split('\n')))
  }
  writeFileSync(join(projectRoot, page), lines.join('\n'))
}

/** The same as assertions, one for each finding. */
export function checkPage(t: Test, page: string, directory: string, start?: string): void {
  const { findings, typed } = findingsOf(readPage(page), directory, isKernelOfThePages(), start)
  if (process.env.DOCS_WRITE === '1') rewrite(page, typed)
  for (const { name, wrong } of findings) {
    if (wrong === undefined) t.pass(`${page}: ${name}`)
    else t.fail(`${page}: ${name}`, { wrong })
  }
}
