/**
 * The projects in examples: each is built and tested by its own toolchain and `xdb test` alone, and its bug is found by
 * the one machine that shows it.
 *
 * Source: examples/pvh-c/README.md, examples/pv64-c/README.md and examples/linux-asm/README.md, whose output is compared.
 * Gotcha: a project is copied to an empty folder first, so it uses no file of this repository.
 */
import { execFile } from 'node:child_process'
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { findCommands } from '../peer/command.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, withDirectory } from './harness.js'

const XDB = `${process.execPath} ${join(projectRoot, 'dist/package/cli/main.js')}`
const run = promisify(execFile)

interface Project {
  readonly name: string
  /** The test that its bug fails. */
  readonly finds: string
  /** The variants that its tests skip, each with a part of the reason. */
  readonly skips: Readonly<Record<string, RegExp>>
}

const TOO_LARGE = { 'memory-1t': /more memory than the machine can address/ }

const PROJECTS: readonly Project[] = [
  { name: 'pvh-c', finds: 'an awkward machine: version-0', skips: TOO_LARGE },
  {
    name: 'pv64-c',
    finds: 'an awkward guest: p2m-scattered',
    skips: {
      'memory-to-hole': /frames that are no RAM of the machine/,
      'memory-above-4g': /frames that are no RAM of the machine/,
      'memory-1t': /past the end of the address space/,
    },
  },
  {
    name: 'linux-asm',
    finds: 'an awkward machine: e820-unsorted',
    skips: {
      'entry-64': /does not claim the 64-bit entry/,
      'loaded-elsewhere': /not relocatable/,
      'ramdisk-high': /initrd_addr_max/,
      ...TOO_LARGE,
    },
  },
]

/** Runs `make test` in the folder. Returns its output, and whether it succeeded. */
async function makeTest(folder: string, ...args: readonly string[]): Promise<{ output: string; passes: boolean }> {
  try {
    // Without NODE_OPTIONS, in which tap hooks itself into each Node process.
    const env = { ...process.env, NODE_OPTIONS: '' }
    const { stdout } = await run('make', ['test', `XDB=${XDB}`, ...args], { cwd: folder, env })
    return { output: stdout, passes: true }
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string }
    return { output: `${stdout}\n${stderr}`, passes: false }
  }
}

/** Returns the names of all tests that failed. */
const failed = (output: string): string[] => [...output.matchAll(/^not ok \d+ - (.*)$/gm)].map(([, name = '']) => name)

/** Returns the reasons of all skipped variants. */
const skipped = (output: string): Record<string, string> =>
  Object.fromEntries(
    [...output.matchAll(/^ok \d+ - .*: (\S+) # SKIP (.*)$/gm)].map(([, name = '', reason = '']) => [name, reason]),
  )

/** Returns the last block of output on the project's page. */
const shownOutput = (folder: string): string =>
  (readFileSync(join(folder, 'README.md'), 'utf8').split('\n\n').at(-1) ?? '').replace(/^ {4}/gm, '').trimEnd()

for (const { name, finds, skips } of PROJECTS) {
  t.test(`${name} survives every machine, and with its bug all except one`, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    if ((await requirePeer(t, () => findCommands(['make', 'make'], ['gcc', 'gcc'], ['ld', 'binutils']))) === undefined)
      return
    await withDirectory(async (directory) => {
      const folder = join(directory, name)
      cpSync(join(projectRoot, 'examples', name), folder, { recursive: true })
      const right = await makeTest(folder)
      t.same(failed(right.output), [], 'no test fails')
      t.ok(right.passes, 'make succeeds')
      t.match(right.output, /^1\.\.(1[5-9]|[2-9]\d)$/m, 'all tests are done')
      t.same(Object.keys(skipped(right.output)).sort(), Object.keys(skips).sort())
      t.match(skipped(right.output), skips, 'each machine that is left out has its reason')
      const wrong = await makeTest(folder, 'BUG=1')
      t.same(failed(wrong.output), [finds], 'one machine finds the bug')
      t.notOk(wrong.passes, 'make fails')
      t.ok(wrong.output.includes(shownOutput(folder)), 'the page shows that output')
      if (!t.passing()) t.comment(right.output, wrong.output)
    })
  })
}
