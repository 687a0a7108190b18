/**
 * libxenguest's verdict on many kernels in one run: accepted with which parameters, refused with which words, or crashed.
 *
 * Source: oracle/acceptance.c, compiled on first use against Debian's libxen-dev.
 * Gotcha: it stops where the image is parsed. What Xen refuses only when it lays the guest out (a start that is not page
 * aligned, too little memory) is accepted here.
 */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { findPeer } from './oracle.js'
import type { Hex } from './oracle-layout.js'
import type { Found } from './require-peer.js'

/** What libxenguest read in a kernel it accepts. 2^64-1 (2^32-1 for phys_entry) stands for what is not there. */
export interface AcceptedKernel {
  readonly outcome: 'accepted'
  readonly guest_type: 'xen-3.0-x86_64' | 'xen-3.0-x86_32p' | 'hvm-3.0-x86_32'
  readonly guest_os: string
  readonly guest_ver: string
  readonly xen_ver: string
  readonly loader: string
  /** 0 no, 1 yes, 2 extended-cr3, 3 bimodal. */
  readonly pae: Hex
  readonly bsd_symtab: Hex
  readonly unmapped_initrd: Hex
  readonly virt_base: Hex
  readonly virt_entry: Hex
  readonly virt_hypercall: Hex
  readonly p2m_base: Hex
  readonly elf_paddr_offset: Hex
  readonly f_supported: Hex
  readonly f_required: Hex
  readonly phys_entry: Hex
  readonly virt_kstart: Hex
  readonly virt_kend: Hex
}

export type PeerVerdict =
  | AcceptedKernel
  | { readonly outcome: 'refused'; readonly stage: string; readonly said: string }
  | { readonly outcome: 'crashed'; readonly said: string }

export const findAcceptance = (): Promise<Found<string>> => findPeer('acceptance')

/** One verdict for each file, in their order. */
export async function peerVerdicts(
  program: string,
  questions: readonly { readonly type: 'pv' | 'pvh'; readonly file: string }[],
): Promise<PeerVerdict[]> {
  const child = spawn(program, [], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(questions.map(({ type, file }) => `${type} ${file}\n`).join(''))
  const lines = (await text(child.stdout)).trimEnd().split('\n')
  if (lines.length !== questions.length) throw new Error(`${questions.length} questions, ${lines.length} answers`)
  return lines.map((line) => JSON.parse(line) as PeerVerdict)
}
