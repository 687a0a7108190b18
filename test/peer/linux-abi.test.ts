/**
 * Compares boot_params, the setup header and ELF's structs with Linux's headers through a C compiler.
 *
 * Source: linux-libc-dev (asm/bootparam.h, linux/elf.h), libc6-dev (elf.h), gcc.
 * Gotcha: only the fields that we name are compared; padding is covered by the offsets of the fields after it.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import {
  ApmBiosInfo,
  BootE820Entry,
  BootParams,
  E820_MAX_ENTRIES_ZEROPAGE,
  EDD_MBR_SIG_MAX,
  EDDMAXNR,
  EddInfo,
  EdidInfo,
  EfiInfo,
  IstInfo,
  OlpcOfwHeader,
  ScreenInfo,
  SETUP_DATA_TYPE,
  SetupData,
  SetupHeader,
  SysDescTable,
  XLF,
} from '../../lib/abi/boot-params.js'
import { Ehdr32, Ehdr64, Nhdr, Phdr32, Phdr64, Shdr32, Shdr64, Sym32, Sym64 } from '../../lib/abi/elf.js'
import { findCommand, findFile } from './command.js'
import { requirePeer } from './require-peer.js'

/** Whether a field is one of our identification fields, which are one array in C. */
const isIdent = (field: string) => field.startsWith('ei_')

const STRUCTS = [
  ['struct boot_params', BootParams],
  ['struct setup_header', SetupHeader],
  ['struct setup_data', SetupData],
  ['struct screen_info', ScreenInfo],
  ['struct apm_bios_info', ApmBiosInfo],
  ['struct ist_info', IstInfo],
  ['struct sys_desc_table', SysDescTable],
  ['struct olpc_ofw_header', OlpcOfwHeader],
  ['struct edid_info', EdidInfo],
  ['struct efi_info', EfiInfo],
  ['struct boot_e820_entry', BootE820Entry],
  ['struct edd_info', EddInfo],
  ['Elf32_Ehdr', Ehdr32],
  ['Elf64_Ehdr', Ehdr64],
  ['Elf32_Phdr', Phdr32],
  ['Elf64_Phdr', Phdr64],
  ['Elf32_Shdr', Shdr32],
  ['Elf64_Shdr', Shdr64],
  ['Elf32_Sym', Sym32],
  ['Elf64_Sym', Sym64],
] as const

const CONSTANTS = { E820_MAX_ENTRIES_ZEROPAGE, EDD_MBR_SIG_MAX, EDDMAXNR, ...SETUP_DATA_TYPE, ...XLF }

t.test('sizes, offsets and numbers are those of the C headers', async (t) => {
  if (!(await requirePeer(t, () => findFile('/usr/include/x86_64-linux-gnu/asm/bootparam.h', 'linux-libc-dev')))) return
  if (!(await requirePeer(t, () => findCommand('gcc', 'gcc')))) return
  const folder = mkdtempSync(path.join(tmpdir(), 'xdb-linux-abi-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const fields = STRUCTS.flatMap(([name, struct]) => [
    `P("${name}", sizeof(${name}));`,
    ...struct.fieldNames.filter((field) => !isIdent(field)).map((f) => `P("${name}.${f}", offsetof(${name}, ${f}));`),
  ])
  // An older header may lack a number, which is then not compared.
  const numbers = Object.keys(CONSTANTS).map((name) => `\n#ifdef ${name}\nP("${name}", ${name});\n#endif\n`)
  writeFileSync(
    path.join(folder, 'abi.c'),
    `#include <stddef.h>
#include <stdio.h>
#include <elf.h>
#include <asm/bootparam.h>
#define P(n, v) printf("%s %zu\\n", n, (size_t)(v))
int main(void) { ${fields.join('\n')} ${numbers.join('')} return 0; }
`,
  )
  execFileSync('gcc', ['-o', 'abi', 'abi.c'], { cwd: folder })
  const lines = execFileSync(path.join(folder, 'abi'), { encoding: 'utf8' }).trim().split('\n')
  const theirs = new Map(
    lines.map((line): [string, number] => [line.replace(/ \d+$/, ''), Number(/\d+$/.exec(line)?.[0])]),
  )
  for (const [name, struct] of STRUCTS) {
    t.equal(struct.size, theirs.get(name), `sizeof ${name}`)
    for (const field of struct.fieldNames.filter((field) => !isIdent(field))) {
      t.equal(struct.offsetOf(field), theirs.get(`${name}.${field}`), `${name}.${field}`)
    }
  }
  for (const [name, value] of Object.entries(CONSTANTS)) {
    const found = theirs.get(name)
    if (found !== undefined) t.equal(value, found, name)
  }
  t.equal(Nhdr.size, 12)
})
