/**
 * The man page: the tables of commands and options, and details for which --help has no room.
 *
 * Source: man-pages(7) for the sections and their order, man(7) for the macros, as groff and mandoc both have them.
 * Gotcha: unescaped text may be read as a macro, so all text goes through `roff`.
 */
import type { NamedCommand, Option, Options } from '../lib/cli/command.js'
import { optionGroup, optionMeaning } from '../lib/cli/help.js'
import { COMMON, PROGRAM, SHORT_NAME } from '../lib/cli/program.js'

/** The date of the last review of this text. A page needs a date, and a build must not depend on the clock. */
const DATE = '2026-11-25'

/** Escapes text for roff: option words keep their hyphens, quotes stay as typed. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replace(/(?<![\w-])--?[a-z][\w-]*/g, (word) => word.replaceAll('-', '\\-'))
    .replaceAll("'", '\\(aq')
    .replace(/^\./, '\\&.')

const bold = (text: string): string => `\\fB${roff(text)}\\fR`

/** A line to be typed; words in capitals are placeholders. */
const typed = (text: string): string => roff(text).replace(/(?<![\w\\])[A-Z]+\b/g, '\\fI$&\\fR')

const optionWords = (name: string, { short, value }: Option): string =>
  [...(short ? [bold(`-${short}`)] : []), bold(`--${name}`)].join(', ') + (value ? ` \\fI${value}\\fR` : '')

const listed = (options: Options, group: string | undefined): string[] =>
  Object.entries(options)
    .filter(([, option]) => optionGroup(option) === group)
    .flatMap(([name, option]) => ['.TP', optionWords(name, option), ...sentences(optionMeaning(option))])

/** Splits text into lines of one sentence each, as roff expects. */
const sentences = (text: string): string[] => text.split(/(?<=\.) (?=[A-Z])/).map(roff)

function commandSection({ name, command }: NamedCommand): string[] {
  const { usage, help, options } = command
  const groups = new Set(Object.values(options).flatMap((option) => optionGroup(option) ?? []))
  const [first = '', ...more] = help.split('\n')
  return [
    `.SS ${name}`,
    `${bold(SHORT_NAME)} ${typed(usage)}`,
    '.PP',
    ...sentences(first),
    ...more.flatMap((line) => ['.br', ...sentences(line)]),
    ...listed(options, undefined),
    ...[...groups].flatMap((group) => ['.PP', `${roff(group)}:`, ...listed(options, group)]),
  ]
}

/** A purpose, and the commands for it. */
const EXAMPLES: readonly (readonly [what: string, ...commands: string[]])[] = [
  ["How a kernel can boot, or why it can't:", 'xdb check vmlinuz'],
  [
    'A save file for a Xen host, and what to type there:',
    'xdb build vmlinuz -o guest.xl --format xl --memory 512M \\',
    '    --ramdisk initrd.img --cmdline console=hvc0',
    'xl restore -c guest.xl',
  ],
  ['The guest of an xl.cfg, but larger:', 'xdb build --config guest.cfg -o guest.img --memory 4G'],
  [
    'A kernel started by QEMU at its 64-bit entry point:',
    'xdb build vmlinuz -o guest --type linux --format qemu \\',
    '    --cmdline console=ttyS0',
    'xdb run guest',
  ],
  ['Where things are, as text and as a page to look around in:', 'xdb map guest.img', 'xdb map guest.img -o map.html'],
  ['The regions with their addresses, for a program:', 'xdb inspect guest.img --json | jq .regions'],
  ['What differs between the guest here and one that xl saved:', 'xdb diff guest.img saved.xl'],
]

const example = (what: string, commands: readonly string[]): string[] => [
  roff(what),
  '.PP',
  '.in +4n',
  '.EX',
  ...commands.map(roff),
  '.EE',
  '.in',
]

const term = (what: string, text: string): string[] => ['.TP', what, ...sentences(text)]

/** Returns the page of the command, under its long name. */
export function manPage(commands: readonly NamedCommand[], version: string): string {
  const lines = [
    `.\\" Made by man/write.ts of the tables of options; not to be changed by hand.`,
    `.TH XEN\\-DOMAIN\\-BUILDER 1 "${DATE}" "${PROGRAM} ${version}" "User Commands"`,
    '.nh',
    '.ad l',
    '.SH NAME',
    `${roff(PROGRAM)}, ${SHORT_NAME} \\- turns a kernel file into a guest\\(aqs first instant`,
    '.SH SYNOPSIS',
    ...commands.flatMap(({ command }, i) => [...(i > 0 ? ['.br'] : []), `${bold(SHORT_NAME)} ${typed(command.usage)}`]),
    '.SH DESCRIPTION',
    ...sentences(
      'Builds what a paravirtual or PVH guest of Xen, or a kernel of the Linux boot protocol, finds at its first instruction: memory, page tables, boot information and registers. It needs no hypervisor and no privilege. The guest is written as a snapshot, in one of these formats:',
    ),
    ...term(bold('raw'), 'The memory of the guest, sparse, and what it means in a JSON file beside it.'),
    ...term(bold('xl'), 'A save file, which xl restore starts.'),
    ...term(bold('xen-core'), "A core file as Xen's own tools write it of a guest."),
    ...term(bold('elf-core'), 'A core file for gdb and crash.'),
    ...term(bold('qemu'), 'Memory and a boot ROM, by which QEMU starts the guest as it was built.'),
    ...term(bold('kexec'), 'Segments for kexec_load(2), in an ELF file.'),
    '.PP',
    ...sentences(
      'Inputs are recognised by their content, never by their name; - is standard input, and where one file is written standard output. A guest can be described by an xl.cfg(5). Where a SIZE is a bare number it is MiB, as there.',
    ),
    '.SH COMMANDS',
    ...commands.flatMap(commandSection),
    '.SH OPTIONS',
    'Every command has these, and they may stand before it as well:',
    ...listed(COMMON, undefined),
    '.SH EXIT STATUS',
    ...term('0', 'Done, or the answer is yes.'),
    ...term(
      '1',
      'The answer is no: the kernel cannot boot or is refused, no such guest can be built, the snapshot is damaged, Xen would not accept the page tables, the guests or kernels differ, the address is not mapped.',
    ),
    ...term(
      '2',
      'The question could not be asked: the command was typed wrong, a value cannot be used, a file cannot be read or is of no known format, an output cannot be written. For diff, every error is 2.',
    ),
    '.PP',
    ...sentences('One line on standard error says why. With --json the same is an object on standard output.'),
    '.SH JSON',
    ...sentences(
      `Every answer to --json is one object. Its member schema names its shape, such as ${PROGRAM}/guest/1; the package has a JSON Schema of that shape in schemas/guest-1.json.`,
    ),
    ...sentences(
      'A hex string is an address, a register, a page-table entry or a field of a structure of the ABI. A number is a count, a size, a frame number, an index or an offset in a file.',
    ),
    '.SH ENVIRONMENT',
    ...term(
      bold('DEBUG'),
      `Set to ${PROGRAM}:*, the story of a build is told on standard error: what is placed where, which page tables are made, what the guest is told.`,
    ),
    ...term(
      bold('TMPDIR'),
      'Where what comes through a pipe, or out of a compressed snapshot, is kept while it is read, in a file without a name. Default: /tmp.',
    ),
    '.SH FILES',
    ...term(
      typed('FILE.json'),
      'Beside a raw or qemu snapshot FILE: what its bytes mean. Without it a raw FILE is not recognised.',
    ),
    ...term(typed('FILE.rom'), 'Beside a qemu snapshot FILE: the boot ROM that enters the guest.'),
    ...term(
      typed('.FILE.PID.tmp'),
      'An output in the making. It gets its name when it is complete, and is removed when it cannot be.',
    ),
    '.SH EXAMPLES',
    ...EXAMPLES.flatMap(([what, ...commands], i) => [...(i > 0 ? ['.PP'] : []), ...example(what, commands)]),
    '.SH SEE ALSO',
    ['xl(1)', 'xl.cfg(5)', 'qemu\\-system\\-x86_64(1)', 'gdb(1)', 'crash(8)', 'kexec(8)', 'readelf(1)', 'xz(1)']
      .map((page) => `.BR ${page.replace('(', ' (')}`)
      .join(' ,\n'),
  ]
  return `${lines.join('\n')}\n`
}

/** The page of the short name, which includes the other one. */
export const shortPage = `.so man1/${PROGRAM}.1\n`
