/**
 * describe: the content of a kernel or a guest, as one JSON value and as text for people.
 *
 * Source: schemas/kernel-1.json and guest-1.json describe the shapes; names are those of the ABI.
 * Gotcha: one rule in json.ts decides between a number and a hex string.
 */

import {
  EM_386,
  EM_X86_64,
  ET_CORE,
  ET_DYN,
  ET_EXEC,
  ET_REL,
  PF_R,
  PF_W,
  PF_X,
  PT_DYNAMIC,
  PT_LOAD,
  PT_NOTE,
} from '../abi/elf.js'
import { XEN_NOTE_KINDS, type XenNoteName } from '../abi/elfnote.js'
import { featureNames } from '../abi/features.js'
import { UKI_CMDLINE, UKI_INITRD } from '../abi/pe.js'
import { toHex } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, isPolicy } from '../guest/domain.js'
import { SEGMENT_REGISTERS } from '../guest/vcpu.js'
import type { ElfImage } from '../kernel/elf.js'
import type { Kernel } from '../kernel/kernel.js'
import { type ElfNote, noteNumber, noteString, noteU32s } from '../kernel/notes.js'
import type { UkiSection } from '../kernel/uki.js'
import type { XenParams } from '../kernel/xen-params.js'
import { append } from '../lists.js'
import { printable, printableLines } from '../printable.js'
import { type SymbolTable, symbolAt } from '../symbols/symbol-table.js'
import { hex, PAGE_SIZE, showSize } from '../units.js'
import { bootText, describeBoot } from './describe-boot.js'
import { describeSaved, savedText } from './describe-hvm.js'
import { describeLinux, linuxText } from './describe-linux.js'
import type { Json } from './json.js'
import { pairs, shownName, table } from './table.js'

const ELF_TYPES: Readonly<Record<number, string>> = {
  [ET_REL]: 'REL',
  [ET_EXEC]: 'EXEC',
  [ET_DYN]: 'DYN',
  [ET_CORE]: 'CORE',
}
const MACHINES: Readonly<Record<number, string>> = { [EM_386]: 'i386', [EM_X86_64]: 'x86-64' }
const SEGMENT_TYPES: Readonly<Record<number, string>> = {
  [PT_LOAD]: 'LOAD',
  [PT_DYNAMIC]: 'DYNAMIC',
  [PT_NOTE]: 'NOTE',
}

function describeElf(elf: ElfImage): Json {
  return {
    class: elf.class,
    type: ELF_TYPES[elf.type] ?? hex(elf.type),
    machine: MACHINES[elf.machine] ?? hex(elf.machine),
    entry: hex(elf.entry),
    segments: elf.segments.map((s) => ({
      type: SEGMENT_TYPES[s.type] ?? hex(s.type),
      flags: showFlags(s.flags),
      offset: s.offset,
      vaddr: hex(s.vaddr),
      paddr: hex(s.paddr),
      filesz: s.filesz,
      memsz: hex(s.memsz),
      align: hex(s.align),
    })),
  }
}

const showFlags = (flags: number): string =>
  `${flags & PF_R ? 'R' : '-'}${flags & PF_W ? 'W' : '-'}${flags & PF_X ? 'X' : '-'}`

/** The most words of a note that are shown: no note of words that Xen reads has more. */
const WORDS_SHOWN = 8

/** Returns the value of a note's descriptor by its kind; bytes where the kind is unknown or the value invalid. */
function noteValue(note: ElfNote): string {
  const kind = note.isXen ? XEN_NOTE_KINDS[note.name as XenNoteName] : undefined
  try {
    if (kind === 'number') return hex(noteNumber(note))
    if (kind === 'string') return noteString(note)
    if (kind === 'u32s')
      return noteU32s(note, WORDS_SHOWN)
        .map((word) => hex(word))
        .join(' ')
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
  }
  const shown = toHex(note.desc.subarray(0, 32))
  return note.desc.length > 32 ? `${shown}... (${note.desc.length} bytes)` : shown
}

export function describeNote(note: ElfNote): {
  owner: string
  type: string
  value: string
  offset: number
  from: string
} {
  return {
    owner: note.owner,
    type: note.name ?? hex(note.type),
    value: noteValue(note),
    offset: note.offset,
    from: note.from,
  }
}

/** Returns every note, and the places from which on notes cannot be read, if any. */
export function describeNotes({ notes, unreadableNotes }: Kernel): { readonly [key: string]: Json } {
  const unreadable = unreadableNotes.map((one) => ({ ...one }))
  return { notes: notes.map(describeNote), ...(unreadable.length === 0 ? {} : { unreadableNotes: unreadable }) }
}

function describeXen(params: XenParams): Json {
  const entries = Object.entries(params).map(([name, value]): [string, Json] => {
    if (name === 'supported' || name === 'required') return [name, featureNames(value as number)]
    if (typeof value === 'bigint') return [name, hex(value)]
    if (name === 'physEntry') return [name, hex(value as number)]
    if (name === 'physReloc')
      return [name, Object.fromEntries(Object.entries(value as object).map(([k, v]) => [k, hex(v as number)]))]
    return [name, value as Json]
  })
  return Object.fromEntries(entries)
}

/** Returns an error as the code and the line of a verdict. */
const describeFault = ({ code, message }: DomainBuilderError): Json => ({ code, reason: message })

/** Returns the content of a kernel file as JSON. */
export function describeKernel(kernel: Kernel): { readonly [key: string]: Json } {
  return defined({
    container: kernel.container,
    codec: kernel.codec,
    sha256: kernel.sha256,
    fault: kernel.fault && describeFault(kernel.fault),
    uki: kernel.uki?.map((section) => ({ ...section })),
    elf: kernel.elf && describeElf(kernel.elf),
    ...describeNotes(kernel),
    xen: kernel.xen && describeXen(kernel.xen),
    xenFault: kernel.xenFault && describeFault(kernel.xenFault),
    linux: kernel.linux && describeLinux(kernel.linux, kernel.elf),
  })
}

/** Returns every note, of any owner, as text, and the places from which on notes cannot be read. */
export function notesText({ notes, unreadableNotes }: Kernel): string[] {
  const rows = notes.map(describeNote).map((n) => [printable(n.owner), n.type, printable(n.value)])
  const unreadable = unreadableNotes.map(
    ({ offset, reason }) => `notes from offset ${hex(offset)} are unreadable: ${reason}`,
  )
  return [
    ...(rows.length === 0 ? [] : ['', 'notes', ...table(['owner', 'type', 'value'], rows)]),
    ...(unreadable.length === 0 ? [] : ['', ...unreadable]),
  ]
}

/** Returns the sections of a UKI as text, with those that are not used. */
function ukiText(sections: readonly UkiSection[]): string[] {
  const rows = sections.map(({ name, offset, size }) => [printable(name), hex(offset), showSize(size)])
  const ignored = sections.map(({ name }) => name).filter((name) => name === UKI_CMDLINE || name === UKI_INITRD)
  return [
    '',
    'sections',
    ...table(['name', '>offset', '>size'], rows),
    ...(ignored.length === 0 ? [] : [`not used: ${ignored.join(', ')}; extract them with objcopy -O binary -j NAME`]),
    '',
  ]
}

/** Returns the content of a kernel file as text for people. */
export function kernelText(kernel: Kernel): string[] {
  const { elf } = kernel
  const lines = [`kernel   ${kernel.container}${kernel.codec ? `, ${kernel.codec} payload` : ''}`]
  for (const { code, message } of [kernel.fault, kernel.xenFault].filter((fault) => fault !== undefined)) {
    lines.push(`damage   ${code}: ${message}`)
  }
  if (kernel.uki) append(lines, ukiText(kernel.uki))
  if (kernel.linux) append(lines, linuxText(kernel.linux, elf), [''])
  if (elf) {
    const machine = MACHINES[elf.machine] ?? hex(elf.machine)
    lines.push(`elf      ELF${elf.class} ${machine} ${ELF_TYPES[elf.type] ?? hex(elf.type)}, entry ${hex(elf.entry)}`)
    const rows = elf.segments.map((s) => [
      SEGMENT_TYPES[s.type] ?? hex(s.type),
      hex(s.offset),
      hex(s.vaddr, elf.class / 4),
      hex(s.paddr),
      hex(s.filesz),
      hex(s.memsz),
      showFlags(s.flags),
    ])
    if (rows.length > 0)
      append(lines, ['', 'segments'], table(['type', '>offset', 'vaddr', '>paddr', '>filesz', '>memsz', 'flags'], rows))
  }
  append(lines, notesText(kernel))
  if (kernel.xen) {
    const { supported, required } = kernel.xen
    lines.push(
      '',
      `features supported ${featureNames(supported).join(' ') || '-'}; required ${featureNames(required).join(' ') || '-'}`,
    )
  }
  return printableLines(lines)
}

/** Returns the content of a guest as JSON. @param symbols the names of its addresses. */
export function describeDomain(domain: Domain, symbols?: SymbolTable): { readonly [key: string]: Json } {
  return {
    type: domain.type,
    abi: domain.abi,
    name: domain.name,
    memory: defined({
      bytes: domain.memory.pageCount * PAGE_SIZE,
      pages: domain.memory.pageCount,
      targetBytes: domain.target,
    }),
    ...defined({ kernel: domain.kernel && { ...domain.kernel } }),
    regions: domain.regions.map((r) => defined({ ...r, vaddr: r.vaddr === undefined ? undefined : hex(r.vaddr) })),
    vcpus: domain.vcpus.map((vcpu) => ({
      online: vcpu.online,
      ...defined({ symbol: symbolAt(symbols, vcpu.registers.rip) }),
      registers: Object.fromEntries([
        ...Object.entries(vcpu.registers).map(([name, value]) => [name, hex(value)]),
        ...SEGMENT_REGISTERS.map((name) => [name, hex(vcpu.segments[name].selector)]),
        ['cr0', hex(vcpu.cr0)],
        ['cr3', hex(vcpu.cr3)],
        ['cr4', hex(vcpu.cr4)],
      ]),
    })),
    ...describeBoot(domain),
    ...describeSaved(domain),
    p2m: domain.p2m.name,
  }
}

function kernelLine(domain: Domain): string {
  const { kernel } = domain
  if (domain.type === 'hvm') return 'kernel   not known: a firmware started this guest'
  if (!kernel) return 'kernel   not known: another toolstack built this guest'
  return `kernel   ${kernel.container}${kernel.codec ? `, ${kernel.codec}` : ''}, sha256 ${kernel.sha256.slice(0, 16)}...`
}

/** Returns the content of a guest as text for people. @param symbols the names of its addresses. */
export function domainText(domain: Domain, symbols?: SymbolTable): string[] {
  const digits = domain.abi === 'x86_64' ? 16 : 8
  const { memory, target } = domain
  const atFirst = target === undefined ? '' : `, ${showSize(target)} of it at first`
  const regions = domain.regions.map((r) => [
    hex(r.pfn),
    String(r.pages),
    showSize(r.pages * PAGE_SIZE),
    r.vaddr === undefined ? ('pageTables' in domain.boot ? 'not mapped' : '-') : hex(r.vaddr, digits),
    r.name,
  ])
  const lines = [
    `guest    ${shownName(domain.name)}: ${domain.type} ${domain.abi}, ${showSize(memory.pageCount * PAGE_SIZE)} (${memory.pageCount} pages${atFirst}), p2m ${domain.p2m.name}`,
    kernelLine(domain),
    '',
    ...(regions.length > 0 ? ['regions', ...table(['>pfn', '>pages', '>size', 'vaddr', 'name'], regions), ''] : []),
    ...bootText(domain),
  ]
  for (const vcpu of domain.vcpus) {
    if (!vcpu.online) {
      lines.push('', `vcpu ${vcpu.id}  waits until the guest starts it`)
      continue
    }
    const { registers: r, segments: s } = vcpu
    const set = Object.entries(r).filter(([name, value]) => value !== 0n || name === 'rip')
    // A PV guest's control registers show only the place of its tables.
    const controls = (['cr0', 'cr3', 'cr4', 'efer'] as const)
      .filter((name) => vcpu[name] !== 0n || name === 'cr3')
      .map((name) => [name, vcpu[name]] as const)
    const selectors = SEGMENT_REGISTERS.map((name) => `${name} ${hex(s[name].selector)}`).join('  ')
    const symbol = symbolAt(symbols, r.rip)
    const place = symbol === undefined ? '' : ` in ${printable(symbol)}`
    lines.push('', `vcpu ${vcpu.id}${place}`, ...pairs([...set, ...controls].map(([n, v]) => [n, hex(v, digits)])))
    // A guest that has run has more registers, in the records that are kept.
    const hasMore = domain.saved?.records.some((record) => !isPolicy(record))
    lines.push(hasMore ? `  ${selectors}` : `  ${selectors}; every other register 0`)
  }
  return printableLines([...lines, ...savedText(domain)])
}
