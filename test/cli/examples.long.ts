/**
 * Runs every example of every --help: it works unchanged, and --help ends with it.
 *
 * Source: `examples` of each command; GENERAL_EXAMPLES.
 * Gotcha: QEMU here is a stub that ends at once, and the Xen host is in memory: this tests the command, not the guest.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { COMMANDS, loadCommands } from '../../lib/cli/commands.js'
import { GENERAL_EXAMPLES, generalHelp, helpText } from '../../lib/cli/help.js'
import { PROGRAM } from '../../lib/cli/program.js'
import { buildBzImage, buildElf, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { MAIN_IN_MODULES } from './command.js'
import { type Host, hostVariables, IN_MEMORY, TWO_GUESTS } from './on-host.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-examples-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const put = (name: string, content: Uint8Array | string, mode = 0o644): void =>
  writeFileSync(path.join(folder, name), content, { mode })

const quoted = [process.execPath, ...IN_MEMORY, MAIN_IN_MODULES].map((word) => `'${word}'`).join(' ')
put('xdb', `#!/bin/sh\nexec ${quoted} "$@"\n`, 0o755)
put('qemu-system-x86_64', '#!/bin/sh\nexit 0\n', 0o755)
put('initrd.img', patternBytes(5000))
/** A kernel's code with what the examples of search look for. */
const code = Buffer.concat([
  patternBytes(5000),
  Buffer.from('\x0f\x05\x48\x8b Linux version 6.1 root=/dev/xvda1\0', 'latin1'),
])
put(
  'vmlinuz',
  buildBzImage({
    payload: gzipSync(
      buildElf({
        class: 64,
        entry: 0x1000000n,
        segments: [{ paddr: 0x1000000, vaddr: 0xffffffff81000000n, data: code }],
        notes: xenNotes({
          XEN_VERSION: 'xen-3.0',
          LOADER: 'generic',
          GUEST_OS: 'linux',
          VIRT_BASE: 0xffffffff80000000n,
          ENTRY: 0xffffffff81000000n,
          PHYS32_ENTRY: [0x1000000],
        }),
      }),
    ),
  }),
)

put('memory.raw', Buffer.alloc(32 << 20))
put('guest.cfg', 'name = "mine"\nkernel = "vmlinuz"\nmemory = 32\n')

/** The host of a command: the guest that it watches ends, and the others go on. */
const hostFor = (line: string): Host => (line.startsWith('xdb watch') ? { ...TWO_GUESTS, end: 'poweroff' } : TWO_GUESTS)

const type = (line: string) =>
  spawnSync('env', ['-u', 'NODE_OPTIONS', 'bash', '-c', `set -o pipefail; ${line}`], {
    cwd: folder,
    env: { ...process.env, PATH: `${folder}:${process.env.PATH}`, HOST: hostVariables(hostFor(line)).HOST },
    encoding: 'utf8',
  })

t.test('each works', async (t) => {
  const commands = await loadCommands()
  const examples = commands.flatMap(({ name, command }) => {
    t.ok(command.examples.length > 0, `${name} has examples`)
    t.same(
      helpText(PROGRAM, command).slice(-command.examples.length - 1),
      ['Examples:', ...command.examples.map((words) => `  xdb ${words}`)],
      `${name} --help ends with them`,
    )
    return command.examples
  })
  t.same(
    generalHelp(COMMANDS).slice(-GENERAL_EXAMPLES.length),
    GENERAL_EXAMPLES.map((words) => `  xdb ${words}`),
  )
  const made = type('xdb build vmlinuz -o other.img --memory 256M --cmdline quiet')
  t.equal(made.status, 0, made.stderr)
  // These run first: the others use their outputs.
  const builds = [/^build /, /--save/].flatMap((first) => examples.filter((words) => first.test(words)))
  for (const words of new Set([...GENERAL_EXAMPLES, ...builds, ...examples])) {
    const { status, stderr } = type(`xdb ${words}`)
    // The end of a guest and the time for which it stood still are remarks.
    t.match(stderr, /^((web|db): [^\n]+\n)?$/, words)
    t.equal(status, words.startsWith('diff guest.img') && !words.includes('--save') ? 1 : 0, words)
  }
})

t.test('no line is wider than a terminal', async (t) => {
  const helps = (await loadCommands()).map(({ command }) => helpText(PROGRAM, command))
  for (const line of [generalHelp(COMMANDS), ...helps].flat()) if (line.length > 80) t.fail(line)
  t.pass('looked at all')
})
