/**
 * The output of readelf for a file, as values.
 *
 * Source: readelf(1) of GNU binutils, -h -l -n with -W.
 * Gotcha: it prints some Xen note types by the names of other owners, so tests compare size and bytes.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface ReadelfFacts {
  readonly class: number
  readonly machine: string
  readonly type: string
  readonly entry: bigint
  readonly segments: readonly ReadelfSegment[]
  readonly notes: readonly ReadelfNote[]
}
export interface ReadelfSegment {
  readonly type: string
  readonly offset: number
  readonly vaddr: bigint
  readonly paddr: bigint
  readonly filesz: number
  readonly memsz: bigint
  readonly flags: string
  readonly align: bigint
}
export interface ReadelfNote {
  readonly owner: string
  readonly size: number
  /** The type, if readelf prints it. */
  readonly type?: number
  readonly bytes?: string
}

export async function readelf(file: string): Promise<ReadelfFacts> {
  const { stdout } = await run('readelf', ['-hlnW', file], { env: { ...process.env, LC_ALL: 'C' }, maxBuffer: 1 << 24 })
  const field = (name: string) => new RegExp(`^ *${name}: *(.*)$`, 'm').exec(stdout)?.[1] ?? ''
  const number = '(0x[0-9a-f]+)'
  const segment = new RegExp(
    `^ +(\\S+) +${number} ${number} ${number} ${number} ${number} (...) (0x[0-9a-f]+|0)$`,
    'gm',
  )
  const note = /^ {2}(\S*) +0x([0-9a-f]{8})\t(.*)$/gm
  return {
    class: field('Class') === 'ELF64' ? 64 : 32,
    machine: field('Machine'),
    type: field('Type').split(' ')[0] ?? '',
    entry: BigInt(field('Entry point address')),
    segments: [...stdout.matchAll(segment)].map(
      ([, type = '', offset, vaddr, paddr, filesz, memsz, flags = '', align]) => ({
        type,
        offset: Number(offset),
        vaddr: BigInt(vaddr ?? 0),
        paddr: BigInt(paddr ?? 0),
        filesz: Number(filesz),
        memsz: BigInt(memsz ?? 0),
        flags,
        align: BigInt(align ?? 0),
      }),
    ),
    notes: [...stdout.matchAll(note)].map(([, owner = '', size = '', rest = '']) => {
      const type = /Unknown note type: \(0x([0-9a-f]+)\)/.exec(rest)?.[1]
      const bytes = /(?:description data|Build ID): ([0-9a-f ]+)/.exec(rest)?.[1]
      return {
        owner,
        size: Number.parseInt(size, 16),
        ...(type === undefined ? {} : { type: Number.parseInt(type, 16) }),
        ...(bytes === undefined ? {} : { bytes: bytes.replaceAll(' ', '') }),
      }
    }),
  }
}
