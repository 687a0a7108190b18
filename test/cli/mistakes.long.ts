/**
 * Typical mistakes on the command line, and the one line of the answer.
 *
 * Source: our own rule: a message states the expected and the actual value, and nothing is written.
 * Gotcha: permissions do not stop root, so tests that run as root drop that capability for some commands.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { COMMANDS } from '../../lib/cli/commands.js'
import { closest } from '../../lib/closest.js'
import { linuxKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { MAIN, runCommand } from './command.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-mistakes-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
/** Arguments for env(1). Without tap's hooks in Node, which take longer than the command itself. */
const node = ['-u', 'NODE_OPTIONS', process.execPath, MAIN]
const put = (name: string, content: Uint8Array | string = ''): void => writeFileSync(path.join(folder, name), content)

function xdb(args: readonly string[], input: Uint8Array | string = '') {
  const { code, text, err } = runCommand(args, { cwd: folder, input })
  return { code, out: text, err }
}

put('kernel', pvKernelFile())
put('text', 'hello\n')
put('pvh.cfg', 'kernel = "kernel"\ntype = "pvh"\n')
put('tests.json', '{ "tests": [{ "kernel": "kernel", "expect": "no.json" }] }')
put('wrong.json', '{ "tests": [{ "kernel": "kernel", "options": { "memroy": 64 } }] }')
put('zeros', new Uint8Array(8192))
put('empty')
mkdirSync(path.join(folder, 'folder'))
for (const output of ['guest.img', 'guest.xl']) xdb(['build', 'kernel', '-o', output, '--memory', '16'])
linkSync(path.join(folder, 'kernel'), path.join(folder, 'same-kernel'))
symlinkSync('kernel', path.join(folder, 'link'))

/** The message for a file that is not a snapshot; it fits a raw image without its sidecar, too. */
const NO_SNAPSHOT = 'expected a snapshot that build writes (a raw or qemu one needs'

/** The command line, the exit status, and the message; a message without a code has a second line with help. */
const MISTAKES: readonly (readonly [typed: string, code: 1 | 2, line: string])[] = [
  ['biuld', 2, "the command 'biuld' is unknown; did you mean build?"],
  ['inspekt kernel', 2, "the command 'inspekt' is unknown; did you mean inspect?"],
  ['xyzzy', 2, "the command 'xyzzy' is unknown"],
  ['--memory 64 build', 2, "the command comes first, before '--memory'"],
  ['--jsn inspect kernel', 2, "the command comes first, before '--jsn'; did you mean --json?"],
  ['constructor', 2, "the command 'constructor' is unknown"],
  ['inspect', 2, 'inspect needs FILE; usage: xen-domain-builder inspect FILE [--symbols FILE]'],
  [
    'inspect kernel text',
    2,
    "the operand 'text' is one too many; usage: xen-domain-builder inspect FILE [--symbols FILE]",
  ],
  ['read guest.img 0', 2, 'read needs LENGTH; usage: xen-domain-builder read SNAPSHOT ADDRESS LENGTH [options]'],
  ['build kernel -o x --memroy 64', 2, "build has no option '--memroy'; did you mean --memory?"],
  ['build kernel -o x --zzz', 2, "build has no option '--zzz'"],
  ['build kernel -o x -x', 2, "build has no option '-x'"],
  [
    'build kernel -o x --type pvhh',
    2,
    "--type 'pvhh' is invalid: expected one of pv, pvh, linux, auto; did you mean pvh?",
  ],
  [
    'build kernel -o x --format=elf',
    2,
    "--format 'elf' is invalid: expected one of raw, qemu, xl, xen-core, elf-core, kdump, kexec, qemu-stream, libvirt; did you mean elf-core?",
  ],
  ['build kernel -o x --compress', 2, '--compress needs a HOW'],
  [
    'build kernel -o x --memory --quiet',
    2,
    "--memory needs a SIZE; '--quiet' looks like an option (else: --memory=--quiet)",
  ],
  ['build kernel -o x --initrd y', 2, "build has no option '--initrd'; did you mean --ramdisk?"],
  ['build kernel -o x --append=quiet', 2, "build has no option '--append'; did you mean --cmdline?"],
  ['build kernel -o x -append quiet', 2, "build has no option '-append'; did you mean --cmdline?"],
  ['build kernel -o x -m 64', 2, "build has no option '-m'; did you mean --memory?"],
  ['build -kernel kernel -o x', 2, "build has no option '-kernel'; KERNEL is given without an option"],
  ['build --kernel kernel -o x', 2, "build has no option '--kernel'; KERNEL is given without an option"],
  ['build kernel -o x --cpus 2', 2, "build has no option '--cpus'; did you mean --vcpus?"],
  ['build kernel -o x --pvh', 2, "build has no option '--pvh'; did you mean --type?"],
  [
    'convert guest.img -o x.xl --output-format xl',
    2,
    "convert has no option '--output-format'; did you mean --format?",
  ],
  ['build kernel -o x --quiet=1', 2, "--quiet takes no value, but has '1'"],
  ['build kernel', 2, 'build needs -o FILE'],
  ['build -o x', 2, 'build needs a KERNEL, or --config FILE'],
  ['build --config empty -o x', 2, 'empty names no kernel: give a KERNEL'],
  ['build kernel -o x --entry 64', 2, '--entry needs --type linux'],
  ['build kernel -o x --type auto --entry 64', 2, '--entry needs --type linux'],
  ['build kernel -o x --load-address 0x100000', 2, '--load-address needs --type pvh or linux'],
  ['build kernel -o x --dom0', 2, '--dom0 needs --type pv or pvh'],
  ['build kernel -o x --type linux --dom0', 2, '--dom0 is for --type pv or pvh; this guest is linux'],
  ['build kernel -o x --type pv --dom0 --host-ram 0-4096', 2, '--host-ram is for --type pvh; this guest is pv'],
  ['build kernel -o x --type pvh --host-ram 0-4096', 2, '--host-ram needs --dom0'],
  [
    'build kernel -o x --type pvh --dom0',
    2,
    '--dom0 of type pvh needs --host-ram START-END for each usable range of the e820 of the host',
  ],
  [
    'build kernel -o x.xl --type pv --dom0',
    2,
    "bad-config: a dom0 cannot be restored: expected purpose 'create' or 'vmm', found 'restore'",
  ],
  ['build kernel -o x --type pv --entry 64', 2, '--entry is for --type linux; this guest is pv'],
  ['build --config pvh.cfg -o x --p2m identity', 2, '--p2m is for --type pv; this guest is pvh'],
  [
    'build kernel -o x --purpose vm',
    2,
    "--purpose 'vm' is invalid: expected one of create, restore, vmm; did you mean vmm?",
  ],
  ['build - --ramdisk - -o x', 2, '- stands for two inputs, and standard input can be read only once'],
  ['diff - -', 2, '- stands for two inputs, and standard input can be read only once'],
  ['completion bsh', 2, "SHELL 'bsh' is invalid: expected one of bash, zsh, fish; did you mean bash?"],
  ['check guest.xl --type pv', 2, '--type is for a kernel; guest.xl is a snapshot'],
  ['extract kernel -o x --relocs x', 2, "-o and --relocs are both 'x'"],
  ['diff kernel kernel --save x', 2, '--save is for two snapshots; these are kernels'],
  ['diff guest.img guest.xl --save guest.xl', 2, 'cannot-write: guest.xl: is an input, which is never changed'],
  [
    'diff guest.img guest.xl --save x.zst',
    2,
    'bad-config: zstd output is not supported: expected .gz, or a pipe through zstd(1), found x.zst',
  ],
  [
    'convert guest.img --apply text -o x.xl',
    2,
    'unknown-format: the file is not a delta: expected a file that diff --save writes (file offset 0x0)',
  ],
  ['convert guest.img --apply missing -o x.xl', 2, 'cannot-read: missing: no such file or directory'],
  ['convert kernel --cr3 zz -o x.core', 2, "--cr3 'zz' is invalid: expected a number, decimal or 0x..."],
  [
    'convert kernel --register rip -o x.core',
    2,
    "--register 'rip' is invalid: expected NAME=VALUE, such as rip=0x1000",
  ],
  ['convert kernel --abi arm -o x.core', 2, "bad-config: abi is invalid: expected x86_64 or x86_32, found 'arm'"],
  ['convert kernel --cr3 1 --apply text -o x.core', 2, '--apply is for a snapshot; this is memory alone'],
  ['stats guest.img+missing', 2, 'cannot-read: missing: no such file or directory'],
  ['stats missing+text', 2, 'cannot-read: missing: no such file or directory'],
  ['check kernel+text', 2, 'unknown-format: kernel is a kernel: expected a snapshot to apply deltas to'],
  ['map guest.img --symbols text', 2, '--symbols is for --at and for a page: give -o a name that ends in .html'],
  ['read guest.img 0 x', 2, "LENGTH 'x' is invalid: expected a number of bytes, such as 64, 0x40 or 4K"],
  ['read guest.img 0 2G', 2, 'LENGTH is too large: expected at most 1073741824'],
  [
    'read guest.img kernle 1',
    2,
    "bad-config: the address is unknown: expected a number, a register, a region or a symbol, found 'kernle'; did you mean kernel?",
  ],
  ['map guest.img --at vcpu3:rip', 2, 'bad-range: the vcpu does not exist: expected at most 0, found 3'],
  [
    'search guest.img 4z --hex',
    2,
    "bad-config: the hex pattern is invalid: expected two digits for each byte, or ??, such as 48 8b ?? 05, found '4z'",
  ],
  [
    'search guest.img a*? --regex',
    2,
    "bad-config: the regular expression has a lazy or possessive repeat: a match is always the longest: expected a repeat such as * or {2,5}, found '?' at character 3",
  ],
  ['search guest.img a --hex --regex', 2, '--hex and --regex are two kinds of PATTERN'],
  ['search guest.img a --limit 0', 2, "--limit '0' is invalid: expected a number of at least 1"],
  ['search guest.img a --virtual --to kernel', 2, "--to 'kernel' is a physical address, and the memory is virtual"],
  ['search guest.img a -m 3', 2, "search has no option '-m'; did you mean --limit?"],
  ['strings guest.img -n x', 2, "-n 'x' is invalid: expected a number of characters"],
  ['strings guest.img -e utf16', 2, "-e 'utf16' is invalid: expected one of s, l"],
  ['map guest.img -o x.png', 2, "-o 'x.png' is invalid: expected a name that ends in .svg or .html"],
  ['inspect folder', 2, 'cannot-read: folder: is a directory'],
  ['inspect missing', 2, 'cannot-read: missing: no such file or directory'],
  ['inspect kernel/x', 2, 'cannot-read: kernel/x: not a directory'],
  [
    'inspect empty',
    1,
    'not-a-kernel: the file is not a kernel: expected an ELF or a Linux bzImage, found nothing: it is empty',
  ],
  ['map zeros', 2, `unknown-format: zeros is not a snapshot: ${NO_SNAPSHOT} zeros.json next to it), found zeros`],
  [
    'validate text',
    2,
    `unknown-format: text is not a snapshot: ${NO_SNAPSHOT} text.json next to it), found a text file`,
  ],
  ['test', 2, 'test needs a KERNEL, an xl.cfg or a test file'],
  ['test kernel --xml x', 2, "test has no option '--xml'; did you mean --junit?"],
  ['test kernel --golden x', 2, "test has no option '--golden'; did you mean --expect?"],
  ['test kernel --initrd x', 2, "test has no option '--initrd'; did you mean --ramdisk?"],
  ['test kernel --entry 64', 2, '--entry needs --type linux'],
  ['test kernel --timeout 0', 2, "--timeout '0' is invalid: expected a number of seconds from 1 to 86400"],
  [
    'test kernel --ends reste',
    2,
    "bad-config: the end of the run is invalid: expected exit N, hypercall NAME, exception N, reset, timeout, poweroff, reboot, suspend, crash, watchdog, soft_reset, found 'reste'; did you mean reset?",
  ],
  ['test kernel --update', 2, '--update needs an expectation in a file: --expect FILE, or "expect": "FILE"'],
  ['test kernel --expect no.json', 2, 'cannot-read: the expectation no.json is missing: --update writes it'],
  ['test kernel --expect text', 2, 'bad-config: text is not JSON'],
  ['test tests.json', 2, 'cannot-read: the expectation no.json is missing: --update writes it'],
  ['test tests.json --memory 64', 2, '--memory is for a kernel; tests.json has the options of its tests'],
  ['test wrong.json', 2, "bad-config: wrong.json.tests[0].options: build has no option 'memroy'; did you mean memory?"],
  ['test missing', 2, 'cannot-read: missing: no such file or directory'],
  ['test folder', 2, 'cannot-read: folder: is a directory'],
  ['run kernel', 2, 'unknown-format: kernel is a kernel: expected a snapshot'],
  [
    'build kernel -o x.xl --type linux',
    2,
    "bad-config: type linux is invalid for a guest that Xen starts: expected purpose 'vmm', or type 'pv' or 'pvh' if the kernel supports it, found purpose 'restore'",
  ],
  ['build kernel -o x --ramdisk folder', 2, 'cannot-read: folder: is a directory'],
  ['build kernel -o missing/x', 2, 'cannot-write: missing/x: there is no directory missing'],
  ['build kernel -o text/x', 2, 'cannot-write: text/x: there is no directory text'],
  ['build kernel -o folder', 2, 'cannot-write: folder: is a directory'],
  ['build kernel -o /dev/null', 2, 'cannot-write: /dev/null: is not a regular file; -o - writes to standard output'],
  ['build kernel -o kernel', 2, 'cannot-write: kernel: is an input, which is never changed'],
  ['build kernel -o same-kernel --format xl', 2, 'cannot-write: same-kernel: is an input, which is never changed'],
  ['build link -o kernel', 2, 'cannot-write: kernel: is an input, which is never changed'],
  ['convert guest.img -o guest.img', 2, 'cannot-write: guest.img: is an input, which is never changed'],
  ['convert guest.xl -o guest.xl', 2, 'cannot-write: guest.xl: is an input, which is never changed'],
  [
    'diff guest.img text',
    2,
    'not-a-kernel: text: the file is not a kernel: expected an ELF or a Linux bzImage, found a text file',
  ],
]

t.test('each is one line, on standard error alone, and nothing is written or changed', async (t) => {
  const state = () =>
    readdirSync(folder).map((name) => [name, name === 'folder' || readFileSync(path.join(folder, name))])
  const before = state()
  for (const [typed, code, line] of MISTAKES) {
    const [command = ''] = typed.split(' ')
    const known = Object.hasOwn(COMMANDS, command)
    const more = /^[a-z-]+: /.test(line) ? '' : `Try 'xen-domain-builder ${known ? `${command} ` : ''}--help'.\n`
    t.same(xdb(typed.split(' ').filter(Boolean), pvKernelFile()), {
      code,
      out: '',
      err: `xen-domain-builder: ${line}\n${more}`,
    })
  }
  t.same(state(), before)
})

t.test('paths in an xl.cfg are taken from where the command runs, as by xl', async (t) => {
  put('folder/guest.cfg', 'kernel = "kernel"\nmemory = 16\n')
  t.match(xdb(['build', '--config', 'folder/guest.cfg', '-o', 'x.img', '--quiet']), { code: 0, err: '' })
  put('folder/near.cfg', 'kernel = "near"\n')
  put('folder/near')
  t.match(xdb(['build', '--config', 'folder/near.cfg', '-o', 'x.img']), {
    code: 2,
    err: [
      'folder/near.cfg: near is next to this file; its paths are relative to the working directory\n',
      'xen-domain-builder: cannot-read: near: no such file or directory\n',
    ].join(''),
  })
})

/** The prefix for env(1) that makes permissions apply to root. */
const MORTAL = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] : []

t.test('a file that may not be read, a folder that may not be written', async (t) => {
  if (MORTAL.length > 0 && !(await requirePeer(t, () => findCommand('setpriv', 'util-linux')))) return
  put('secret', 'x')
  chmodSync(path.join(folder, 'secret'), 0)
  chmodSync(folder, 0o555)
  t.teardown(() => chmodSync(folder, 0o755))
  const [command = 'env', ...before] = [...MORTAL, 'env']
  const saidTo = (...args: readonly string[]) =>
    spawnSync(command, [...before, ...node, ...args], { cwd: folder, encoding: 'utf8' }).stderr
  t.equal(saidTo('inspect', 'secret'), 'xen-domain-builder: cannot-read: secret: permission denied\n')
  t.equal(
    saidTo('build', 'kernel', '-o', 'x', '--format', 'xl'),
    'xen-domain-builder: cannot-write: x: permission denied\n',
  )
})

t.test('standard output that is closed, full or not read', async (t) => {
  if (!(await requirePeer(t, () => findCommand('bash', 'bash')))) return
  const shell = (line: string) =>
    spawnSync('env', ['-u', 'NODE_OPTIONS', 'bash', '-c', line, process.execPath, MAIN], {
      cwd: folder,
      encoding: 'utf8',
    })
  const full = shell('"$0" "$1" inspect kernel >/dev/full')
  t.match(full, { status: 2, stderr: 'xen-domain-builder: cannot-write: standard output: no space left on device\n' })
  t.match(shell('"$0" "$1" convert guest.img --format xl -o - >/dev/full').status, 2)
  t.match(shell('"$0" "$1" inspect kernel >&-'), { status: 0, stderr: '' })
  t.match(shell('set -o pipefail; "$0" "$1" map guest.img | head -1'), { status: 0, stderr: '' })
  t.match(shell('"$0" "$1" inspect missing 2>&-'), { status: 2, stdout: '' })
  t.match(shell('"$0" "$1" inspect - <&-'), { status: 1, stderr: /it is empty\n$/ })
})

t.test('run where there is no QEMU', async (t) => {
  put('linux', linuxKernelFile())
  t.equal(xdb(['build', 'linux', '-o', 'q', '--type', 'linux', '--format', 'qemu', '--memory', '32']).err, '')
  const ran = spawnSync('env', ['-u', 'NODE_OPTIONS', 'PATH=/nowhere', process.execPath, MAIN, 'run', 'q'], {
    cwd: folder,
    encoding: 'utf8',
  })
  t.equal(
    ran.stderr,
    'xen-domain-builder: no-hypervisor: qemu-system-x86_64 cannot be started: it is not installed, or not in PATH\n',
  )
  t.equal(ran.status, 2)
})

t.test('what is suggested, and what is not', async (t) => {
  const words = ['build', 'memory', 'maxmem', 'pv', 'pvh', 'xl', 'on_crash', 'elf-core']
  for (const [typed, meant] of [
    ['buidl', 'build'],
    ['BUILD', 'build'],
    ['memroy', 'memory'],
    ['memoryy', 'memory'],
    ['vp', 'pv'],
    ['on-crash', 'on_crash'],
    ['elf', 'elf-core'],
    ['mem', 'memory'],
    ['zzz', undefined],
    ['', undefined],
    ['b', 'build'],
    ['m', undefined],
    ['m'.repeat(100_000), undefined],
  ] as const) {
    t.equal(closest(typed, words), meant, typed.slice(0, 20))
  }
})
