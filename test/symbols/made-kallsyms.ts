/**
 * A kallsyms table made in code, in each of the layouts that Linux has had.
 *
 * Source: Linux scripts/kallsyms.c; ../../lib/abi/kallsyms.ts.
 * Gotcha: real tables replace characters that no name has by longer tokens. Here only a few characters are replaced.
 */
import { KALLSYMS_MARKER_STEP, KALLSYMS_SEQ_BYTES, KALLSYMS_TOKENS } from '../../lib/abi/kallsyms.js'
import type { KernelSymbol } from '../../lib/symbols/symbol-table.js'

/** The layout of a table. */
export interface KallsymsLayout {
  readonly word: 4 | 8
  /** Bytes that the parts are aligned to. */
  readonly align: 4 | 8
  /** Before the names, or (since Linux 6.4) after the tokens. */
  readonly addresses: 'before' | 'after'
  readonly encoding: 'absolute' | 'relative' | 'percpu' | 'place'
  readonly markerBytes: 4 | 8
  /** Whether kallsyms_seqs_of_names lies between the markers and the tokens. */
  readonly seqsBefore: boolean
}

const TOKENS = Array.from({ length: KALLSYMS_TOKENS }, (_, i) => (i >= 0x20 && i < 0x7f ? String.fromCharCode(i) : ''))
TOKENS[1] = 'Tsys_'
TOKENS[2] = 'init'
TOKENS[3] = '_'.repeat(64)

/** Returns the tokens of a name with its type. */
function compressed(text: string): number[] {
  const out: number[] = []
  for (let at = 0; at < text.length; ) {
    const token = [3, 1, 2].find((i) => text.startsWith(TOKENS[i] as string, at)) ?? text.charCodeAt(at)
    out.push(token)
    at += (TOKENS[token] as string).length
  }
  return out
}

/** Returns the bytes of a table that lies at `vaddr`. Symbols are in order of address. */
export function madeKallsyms(symbols: readonly KernelSymbol[], vaddr: bigint, layout: KallsymsLayout): Uint8Array {
  const { word, align, encoding } = layout
  const out: number[] = []
  const number = (value: bigint, bytes: number): void => {
    for (let i = 0; i < bytes; i++) out.push(Number((value >> BigInt(8 * i)) & 0xffn))
  }
  const pad = (): void => {
    while (out.length % align !== 0) out.push(0)
  }
  const base = symbols.find(({ address }) => address >= 1n << 30n)?.address ?? 0n
  const offsetOf = (address: bigint): bigint => {
    if (encoding === 'place') return address - vaddr - BigInt(out.length)
    if (encoding === 'percpu') return address < 1n << 30n ? address : base - 1n - address
    return address - base
  }
  const addresses = (): void => {
    for (const { address } of symbols) {
      if (encoding === 'absolute') number(address, word)
      else number(offsetOf(address), 4)
    }
    pad()
    if (encoding === 'relative' || encoding === 'percpu') number(base, word)
    pad()
  }
  const seqs = (): void => {
    for (let i = 0; i < symbols.length; i++) number(BigInt(symbols.length - 1 - i), KALLSYMS_SEQ_BYTES)
    pad()
  }
  number(0x1234_5678_9abc_def0n, 8)
  if (layout.addresses === 'before') addresses()
  number(BigInt(symbols.length), 4)
  pad()
  const names = out.length
  const markers: number[] = []
  for (const [i, { name, type }] of symbols.entries()) {
    if (i % KALLSYMS_MARKER_STEP === 0) markers.push(out.length - names)
    const tokens = compressed(type + name)
    if (tokens.length < 0x80) out.push(tokens.length)
    else out.push((tokens.length & 0x7f) | 0x80, tokens.length >> 7)
    out.push(...tokens)
  }
  pad()
  for (const marker of markers) number(BigInt(marker), layout.markerBytes)
  pad()
  if (layout.seqsBefore) seqs()
  const starts: number[] = []
  const table = out.length
  for (const token of TOKENS) {
    starts.push(out.length - table)
    out.push(...Buffer.from(`${token}\0`, 'latin1'))
  }
  pad()
  for (const start of starts) number(BigInt(start), 2)
  pad()
  if (layout.addresses === 'after') addresses()
  if (!layout.seqsBefore) seqs()
  return Uint8Array.from(out)
}

/** Returns that many symbols from an address on, the first of them per-CPU offsets where the layout has such. */
export function madeSymbols(count: number, { encoding }: KallsymsLayout, start: bigint): KernelSymbol[] {
  return Array.from({ length: count }, (_, i) => {
    const isPerCpu = encoding === 'percpu' && i < 5
    const name =
      i % 97 === 3 ? `long_${'x'.repeat(150)}_${i}` : `${i % 2 ? 'sys_' : 'init'}${'_'.repeat(64 * (i % 3))}${i}`
    return {
      name,
      type: isPerCpu ? 'A' : 'Tdb'.charAt(i % 3),
      address: isPerCpu ? BigInt(i * 64) : start + BigInt(i >> 1) * 16n,
    }
  })
}

/** Every layout that a release of Linux has. */
export const KALLSYMS_LAYOUTS: Readonly<Record<string, KallsymsLayout>> = {
  '4.4, 64-bit': { word: 8, align: 8, addresses: 'before', encoding: 'absolute', markerBytes: 8, seqsBefore: false },
  '4.6': { word: 8, align: 8, addresses: 'before', encoding: 'percpu', markerBytes: 8, seqsBefore: false },
  '5.10': { word: 8, align: 8, addresses: 'before', encoding: 'percpu', markerBytes: 4, seqsBefore: false },
  '5.10, 32-bit': { word: 4, align: 4, addresses: 'before', encoding: 'relative', markerBytes: 4, seqsBefore: false },
  '4.4, 32-bit': { word: 4, align: 4, addresses: 'before', encoding: 'absolute', markerBytes: 4, seqsBefore: false },
  '6.2': { word: 8, align: 8, addresses: 'before', encoding: 'percpu', markerBytes: 4, seqsBefore: true },
  '6.2, 32-bit': { word: 4, align: 4, addresses: 'before', encoding: 'relative', markerBytes: 4, seqsBefore: true },
  '6.6': { word: 8, align: 8, addresses: 'after', encoding: 'percpu', markerBytes: 4, seqsBefore: false },
  '6.6, absolute': { word: 8, align: 8, addresses: 'after', encoding: 'absolute', markerBytes: 4, seqsBefore: false },
  '6.15': { word: 8, align: 8, addresses: 'after', encoding: 'relative', markerBytes: 4, seqsBefore: false },
  '6.15, 32-bit': { word: 4, align: 4, addresses: 'after', encoding: 'relative', markerBytes: 4, seqsBefore: false },
  '7.0': { word: 8, align: 4, addresses: 'after', encoding: 'place', markerBytes: 4, seqsBefore: false },
  '7.0, 32-bit': { word: 4, align: 4, addresses: 'after', encoding: 'place', markerBytes: 4, seqsBefore: false },
}
