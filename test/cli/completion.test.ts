/**
 * Completion in real shells: bash and zsh at a terminal with a real Tab, fish with its `complete -C`.
 *
 * Source: bash(1), zshcompsys(1), fish's complete(1); Debian's bash, bash-completion, zsh and fish.
 * Gotcha: the command itself is not run: a shell function with its name shows its arguments.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { isFor, type NamedCommand } from '../../lib/cli/command.js'
import { loadCommands } from '../../lib/cli/commands.js'
import type { VerdictType } from '../../lib/kernel/verdict.js'
import { findCommand, findCommands, findFile } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { MAIN } from './command.js'
import { openTerminal, TERMINAL, type Terminal } from './terminal.js'

const BASH_COMPLETION = '/usr/share/bash-completion/bash_completion'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-tab-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
for (const name of ['vmlinuz', 'my guest.img', 'guest.cfg']) writeFileSync(path.join(folder, name), '')
mkdirSync(path.join(folder, 'boot'))

const script = (shell: string): string => {
  const file = path.join(folder, `.${shell}`)
  writeFileSync(file, execFileSync(process.execPath, [MAIN, 'completion', shell]))
  return file
}
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** The text typed before Tab, and the resulting arguments; zsh removes the / of a folder. */
const INSERTED: readonly (readonly [typed: string, words: readonly string[]])[] = [
  ['xdb bu', ['build']],
  ['xen-domain-builder insp', ['inspect']],
  ['xdb --json insp', ['--json', 'inspect']],
  ['xdb --json --qui', ['--json', '--quiet']],
  ['xdb --quiet build --memo', ['--quiet', 'build', '--memory']],
  ['xdb --quiet inspect vml', ['--quiet', 'inspect', 'vmlinuz']],
  ['xdb build --type linux --p2', ['build', '--type', 'linux', '--p2']],
  ['xdb build --type linux --ramdisk-', ['build', '--type', 'linux', '--ramdisk-address']],
  ['xdb inspect vml', ['inspect', 'vmlinuz']],
  ['xdb inspect boo', ['inspect', 'boot']],
  ['xdb inspect my', ['inspect', 'my guest.img']],
  ['xdb inspect "my', ['inspect', 'my guest.img']],
  ['xdb build --memo', ['build', '--memory']],
  ['xdb build --type pvh --form', ['build', '--type', 'pvh', '--format']],
  ['xdb build --type li', ['build', '--type', 'linux']],
  ['xdb build --type=li', ['build', '--type=linux']],
  ['xdb build --format elf', ['build', '--format', 'elf-core']],
  ['xdb build --compress g', ['build', '--compress', 'gzip']],
  ['xdb build --config gu', ['build', '--config', 'guest.cfg']],
  ['xdb build -o vm', ['build', '-o', 'vmlinuz']],
  ['xdb build --ramdisk vm', ['build', '--ramdisk', 'vmlinuz']],
  ['xdb build --memory 64 --type=pv vml', ['build', '--memory', '64', '--type=pv', 'vmlinuz']],
  ['xdb diff vmlinuz gu', ['diff', 'vmlinuz', 'guest.cfg']],
  ['xdb completion z', ['completion', 'zsh']],
  ['xdb strings vml', ['strings', 'vmlinuz']],
  ['xdb help con', ['help', 'convert']],
  ['xdb run vmlinuz -- gu', ['run', 'vmlinuz', '--', 'guest.cfg']],
  // No candidate exists for these, so nothing is added.
  ['xdb read vmlinuz gu', ['read', 'vmlinuz', 'gu']],
  ['xdb build --name gu', ['build', '--name', 'gu']],
  ['xdb build vmlinuz gu', ['build', 'vmlinuz', 'gu']],
]

/** The text typed before Tab, candidates that must be offered, and candidates that must not. */
async function offered(): Promise<readonly (readonly [typed: string, offered: string[], not: string[]])[]> {
  const commands = await loadCommands()
  const options = (name: string): string[] =>
    Object.keys((commands.find((one) => one.name === name) as NamedCommand).command.options).map((word) => `--${word}`)
  const optionsFor = (type: VerdictType): string[] => {
    const { command } = commands.find((one) => one.name === 'build') as NamedCommand
    return Object.entries(command.options).flatMap(([name, option]) => (isFor(option, type) ? [`--${name}`] : []))
  }
  const files = ['vmlinuz', 'guest.cfg', 'boot/']
  return [
    ['xdb ', commands.map(({ name }) => name), files],
    ['xdb build --', [...options('build'), '--json', '--quiet', '--help'], ['--virtual', 'vmlinuz']],
    ['xdb read --', ['--virtual', '--hexdump', '--json'], ['--memory']],
    [
      'xdb build --format ',
      ['raw', 'qemu', 'xl', 'xen-core', 'elf-core', 'kdump', 'kexec', 'qemu-stream', 'libvirt'],
      files,
    ],
    ['xdb build --ring ', ['0', '1', '3'], files],
    ['xdb build --type linux --entry ', ['16', '32', '64'], files],
    ['xdb build --type ', ['pv', 'pvh', 'linux', 'auto'], files],
    ['xdb build --type linux --', [...optionsFor('linux'), '--json', '--memory'], ['--p2m', '--platform', 'vmlinuz']],
    ['xdb build --type=pv --', [...optionsFor('pv'), '--json'], ['--platform', '--entry', '--reserve']],
    ['xdb build --type auto --', options('build'), []],
    ['xdb inspect ', files, ['--json']],
  ]
}

/** Checks each case of INSERTED and offered() in a shell that is ready for it. */
async function atTerminal(t: Test, terminal: Terminal): Promise<void> {
  for (const [typed, words] of INSERTED) {
    const shown = await terminal.type(`${typed}\t\n`, /END$/m)
    t.match(
      shown.replaceAll('/>', '>'),
      `${words.map((word) => `<${word}>`).join('')}END`,
      `${typed}: ${words.join(' ')}`,
    )
  }
  for (const [typed, wanted, unwanted] of await offered()) {
    const all = new RegExp(wanted.map((word) => `(?=[^]*\\n[^]*(?<![\\w-])${word}(?![\\w-]))`).join(''))
    const listed = await terminal.type(`${typed}\t`, all)
    const rest = await terminal.type("\x15echo DO''NE\n", /^DONE$/m)
    const words = (listed.slice(listed.indexOf('\n')) + rest).split(/\s+/)
    t.same(
      unwanted.filter((word) => words.includes(word)),
      [],
      `${typed}: ${wanted.join(' ')}`,
    )
  }
}

const FUNCTIONS = `show() { printf '<%s>' "$@"; echo END; }; xdb() { show "$@"; }; xen-domain-builder() { show "$@"; }`

for (const helped of [false, true]) {
  t.test(`bash, ${helped ? 'with' : 'without'} bash-completion`, async (t) => {
    if (!(await requirePeer(t, () => findCommands(['bash', 'bash'], TERMINAL)))) return
    if (helped && !(await requirePeer(t, () => findFile(BASH_COMPLETION, 'bash-completion')))) return
    const rc = path.join(folder, '.bashrc')
    writeFileSync(
      rc,
      [
        ...(helped ? [`. ${BASH_COMPLETION}`] : []),
        'bind "set show-all-if-ambiguous on"; bind "set page-completions off"; bind "set enable-bracketed-paste off"',
        'bind "set completion-query-items 0"',
        FUNCTIONS,
        `source ${quoted(script('bash'))}`,
        `cd ${quoted(folder)}`,
        "PS1='$ '",
      ].join('\n'),
    )
    const terminal = openTerminal(`bash --noprofile --rcfile ${quoted(rc)} -i`, {})
    t.teardown(() => terminal.end())
    await terminal.type("echo RE''ADY\n", /^READY$/m)
    await atTerminal(t, terminal)
  })
}

for (const loaded of ['source', 'fpath'] as const) {
  t.test(`zsh, loaded by ${loaded}`, async (t) => {
    if (!(await requirePeer(t, () => findCommands(['zsh', 'zsh'], TERMINAL)))) return
    const home = path.join(folder, `.zsh-${loaded}`)
    mkdirSync(home)
    if (loaded === 'fpath') writeFileSync(path.join(home, '_xen-domain-builder'), readFileSync(script('zsh')))
    writeFileSync(
      path.join(home, '.zshrc'),
      [
        `fpath=(${quoted(home)} $fpath)`,
        `autoload -Uz compinit; compinit -u -d ${quoted(path.join(home, 'dump'))}`,
        ...(loaded === 'source' ? [`source ${quoted(script('zsh'))}`] : []),
        FUNCTIONS,
        'setopt no_list_ambiguous no_always_last_prompt; LISTMAX=1000; unset zle_bracketed_paste',
        `cd ${quoted(folder)}`,
        "PS1='$ '",
      ].join('\n'),
    )
    const terminal = openTerminal('zsh -i', { ZDOTDIR: home, HOME: home })
    t.teardown(() => terminal.end())
    await terminal.type("echo RE''ADY\n", /^READY$/m)
    await atTerminal(t, terminal)
  })
}

t.test('fish', async (t) => {
  const fish = await requirePeer(t, () => findCommand('fish', 'fish'))
  if (!fish) return
  const file = script('fish')
  /** Returns the candidates for the last word of each line, with their descriptions. */
  const texts = (typed: readonly string[]): string[][] => {
    const lines = typed.map((line) => `complete -C ${quoted(line).replaceAll("'\\''", "\\'")}; echo ====`)
    const out = execFileSync('fish', ['--no-config', '-c', [`source ${quoted(file)}`, ...lines].join('\n')], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: path.join(folder, '.fish-config') },
    })
    return out
      .split('====\n')
      .slice(0, -1)
      .map((text) => text.split('\n').filter(Boolean))
  }
  const complete = (typed: readonly string[]): string[][] =>
    texts(typed).map((lines) => lines.map((line) => line.split('\t', 1)[0] ?? ''))
  // fish gives the last word as a whole: --type=linux, and a name without its quotes.
  const found = complete(INSERTED.map(([typed]) => typed))
  for (const [i, [typed, words]] of INSERTED.entries()) {
    const last = words.at(-1) as string
    const nothing = typed.endsWith(` ${last}`)
    t.same(
      found[i]?.map((word) => word.replace(/[\\"]|\/$/g, '')),
      nothing ? [] : [last],
      typed,
    )
  }
  const [[shown = '']] = texts(['xdb build --forma']) as [[string]]
  t.match(shown, /^--format\traw, qemu, /, 'an option has a text')
  t.same(texts(['xdb build --ring ']), [['0', '1', '3']], 'and its values have not')
  const lists = await offered()
  for (const [i, words] of complete(lists.map(([typed]) => typed)).entries()) {
    const [typed, wanted, unwanted] = lists[i] as (typeof lists)[number]
    t.same(
      wanted.filter((word) => !words.includes(word)),
      [],
      `${typed}: ${wanted.join(' ')}`,
    )
    t.same(
      unwanted.filter((word) => words.includes(word)),
      [],
      `${typed}: and nothing else`,
    )
  }
})
