/**
 * Types the commands of docs/running.md about a Xen host: the local ones on this machine, the others in a real Xen.
 *
 * Source: docs/running.md, its session with `server#` lines.
 * Gotcha: only scp is not typed, since the machines have no network: a share between them carries the files.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Block, blocksOf, type Command, isForServer } from '../docs/blocks.js'
import { findingsOfBlocks, projectIn, readPage } from '../docs/page.js'
import { kernelPath } from '../peer/kernels.js'
import type { CheckedCase } from './check.js'
import { xenBuild } from './harness.js'

const PAGE = 'docs/running.md'

function commandsOfPage(): readonly Command[] {
  const sessions = blocksOf(readPage(PAGE)).filter(isForServer)
  return sessions.flatMap((block) => (block.kind === 'session' ? block.commands : []))
}

/** Returns a server's command as steps of a case, with a wait until the guest is up. */
function steps({ command }: Command): string[] {
  if (/^scp laptop:\S+ \.$/.test(command)) return []
  const back = /^scp (.+) laptop:$/.exec(command)
  if (back) return [`give ${back[1]}`]
  return command.startsWith('xl restore ') ? [command, 'console GUEST-READY 120', 'console "GUEST-ALIVE 2"'] : [command]
}

const session = (commands: readonly Command[]): Block[] => [{ kind: 'session', line: 1, commands }]

/** Returns a case with the name of the page's guest. */
export function documentedCase(): CheckedCase {
  const commands = commandsOfPage()
  const first = commands.findIndex(({ prompt }) => prompt === 'server#')
  const last = commands.findLastIndex(({ prompt }) => prompt === 'server#')
  const onServer = commands.slice(first, last + 1)
  const directory = mkdtempSync(join(tmpdir(), 'xen-domain-builder-xen-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const project = join(directory, 'project')
  const before: { wrong: string[] } = { wrong: [] }
  const type = (part: readonly Command[]): string[] =>
    findingsOfBlocks(session(part), project, false).findings.flatMap(({ name, wrong }) =>
      wrong === undefined ? [] : [`${name}: ${wrong}`],
    )
  return {
    name: 'web',
    files: {
      'web.xl': async () => {
        projectIn(project, kernelPath('debian-amd64'))
        writeFileSync(join(project, 'initrd.img'), readFileSync(join(xenBuild, 'guest.cpio')))
        before.wrong = type(commands.slice(0, first))
        return readFileSync(join(project, 'web.xl'))
      },
    },
    steps: onServer.flatMap(steps),
    seconds: 300,
    check(t, result) {
      t.same(before.wrong, [], 'what is typed before')
      t.ok(
        onServer.every(({ prompt, shown }) => prompt === 'server#' && shown.every((line) => line === '...')),
        'what xl says is its own',
      )
      t.match(result.console, /GUEST-READY type=PV Linux x86_64/)
      for (const name of ['web.core', 'saved.xl']) writeFileSync(join(project, name), result.file(name))
      t.same(type(commands.slice(last + 1)), [], 'what is typed with what came back')
    },
  }
}
