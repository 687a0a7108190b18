/**
 * libxenguest's verdict on many kernels in one run: accepted with parameters, refused with a message, or crashed.
 *
 * Source: oracle/acceptance.c, compiled on first use against Debian's libxen-dev.
 * Gotcha: it stops after parsing. Xen refuses some of the accepted kernels only when it lays the guest out (a start
 * that is not page aligned, too little memory).
 */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import type { Kernel } from '../../lib/kernel/kernel.js'
import { pvKernel } from '../../lib/kernel/pv-kernel.js'
import { pvhKernel } from '../../lib/kernel/pvh-kernel.js'
import { hex } from '../../lib/units.js'
import { findPeer } from './oracle.js'
import type { Hex } from './oracle-layout.js'
import type { Found } from './require-peer.js'

/** The facts that libxenguest read in a kernel it accepts. 2^64-1 (2^32-1 for phys_entry) means absent. */
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

/** Returns one verdict for each file, in order. */
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

const PAE = { no: 0, yes: 1, 'extended-cr3': 2, bimodal: 3 } as const
/** Xen's value for an absent u64; a kernel cannot state it as a value (a property of the format, not ours). */
export const UNSET = (1n << 64n) - 1n

/** Returns the facts that we read in a kernel, in the peer's terms. @throws DomainBuilderError if we refuse it. */
export function ourFacts(kernel: Kernel, type: 'pv' | 'pvh'): Readonly<Record<string, string>> {
  const { params } = type === 'pv' ? pvKernel(kernel) : pvhKernel(kernel)
  const same = {
    guest_os: (params.guestOs ?? '').slice(0, 15),
    guest_ver: (params.guestVersion ?? '').slice(0, 15),
    xen_ver: (params.xenVersion ?? '').slice(0, 15),
    loader: (params.loader ?? '').slice(0, 15),
    pae: hex(PAE[params.pae]),
    bsd_symtab: hex(Number(params.bsdSymtab)),
    unmapped_initrd: hex(Number(params.modStartPfn)),
    virt_hypercall: hex(params.hypercallPage ?? UNSET),
    p2m_base: hex(params.initP2m ?? UNSET),
    f_supported: hex(params.supported),
    f_required: hex(params.required),
    phys_entry: hex(params.physEntry ?? 0xffffffff),
  }
  if (type === 'pvh') {
    const { entry, image } = pvhKernel(kernel)
    return {
      guest_type: 'hvm-3.0-x86_32',
      ...same,
      virt_entry: hex(entry),
      virt_kstart: hex(image.start),
      virt_kend: hex(image.end),
    }
  }
  const { abi, virtBase, paddrOffset, entry, vstart, vend } = pvKernel(kernel)
  return {
    guest_type: `xen-3.0-${abi}`,
    ...same,
    virt_base: hex(virtBase),
    elf_paddr_offset: hex(paddrOffset),
    virt_entry: hex(entry),
    virt_kstart: hex(vstart),
    virt_kend: hex(vend),
  }
}

/** Returns the facts that differ from the peer's. */
export function factDifferences(ours: Readonly<Record<string, string>>, peer: AcceptedKernel): string[] {
  return Object.entries(ours)
    .filter(([name, value]) => peer[name as keyof AcceptedKernel] !== value)
    .map(([name, value]) => `${name}: Xen ${peer[name as keyof AcceptedKernel]}, we ${value}`)
}
