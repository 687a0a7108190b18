/**
 * Compares us with libxenguest: the accepted kernels, and the facts read in them, as PV and as PVH.
 *
 * Source: oracle/acceptance.c; ../fixtures/random-kernel.ts.
 * Gotcha: a kernel that Xen refuses and we accept would fail on a host. For kernels that only we refuse, STRICTER alone
 * has the reasons.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { type Kernel, readKernel } from '../../lib/kernel/kernel.js'
import { alignUp } from '../../lib/units.js'
import { Random } from '../fixtures/random.js'
import { randomKernel } from '../fixtures/random-kernel.js'
import { factDifferences, findAcceptance, ourFacts, type PeerVerdict, peerVerdicts, UNSET } from './acceptance.js'
import { requirePeer } from './require-peer.js'

const KERNELS = 1500
const DAMAGED = 1500

/** Our refusals of kernels that libxenguest's parser accepts, by our message, with the reason. */
const STRICTER: readonly { readonly message: RegExp; readonly reason: string }[] = [
  { message: /a segment reaches past the end of the file/, reason: 'Xen leaves it zero, silently' },
  { message: /more bytes in the file than in memory/, reason: 'Xen leaves it zero, silently' },
  { message: /wraps around the end of the address space/, reason: 'no guest can hold it' },
  { message: /e_phentsize is not the size/, reason: 'no linker writes another; Xen takes it as a stride' },
  {
    message: /\(EI_CLASS\) is invalid|\(EI_DATA\) is not that of x86/,
    reason: 'Xen reads any class but 2 as 32-bit, and swaps big-endian',
  },
  {
    message: /is not a number: expected a descriptor of 4 or 8 bytes/,
    reason: 'Xen reads 0; the specification has 4 or 8 bytes',
  },
  { message: /is not a list of u32/, reason: 'Xen reads 0; the specification has words' },
  { message: /is not text: expected/, reason: 'Xen reads on into the next note; the specification has a NUL' },
  { message: /note \w+ reaches past the end of the file/, reason: 'Xen reads 0' },
  { message: /PHYS32_ENTRY is not a 32-bit physical address/, reason: 'Xen cuts it to 32 bits' },
  { message: /image is not page aligned/, reason: 'Xen refuses it later, when it lays the guest out' },
  { message: /is larger than the address space/, reason: 'Xen refuses it later, since no guest has the memory' },
  { message: /requires auto-translation/, reason: 'Xen refuses it later, when it makes the memory' },
  { message: /the segments overlap too much/, reason: 'Xen leaves out the rest, silently' },
  { message: /lies above a 32-bit address space/, reason: 'no 32-bit page table can map it' },
  { message: /image lies above 4 GiB/, reason: 'a 32-bit entry without paging cannot reach it' },
  {
    message: /INIT_P2M is inside of the image/,
    reason: 'Xen compares the address as it stands, not as the tables see it',
  },
  { message: /expected e_machine 3 or 62/, reason: 'Xen starts a PVH image of any processor' },
  { message: /symbol table that the kernel needs is missing/, reason: 'Xen leaves room for it, and leaves it empty' },
  {
    message: /owner is Xen, but its length is wrong/,
    reason: 'Xen reads the name up to its NUL, at any length',
  },
  { message: /a section of notes lies outside the file/, reason: 'Xen reads what is there' },
  {
    message: /alignment of PHYS32_RELOC or of the segments is invalid/,
    reason: 'Xen 4.17 does not know the note, later ones mask with it',
  },
  { message: /\(e_phnum\) is invalid/, reason: 'Xen reads 65535 headers where the count is kept elsewhere' },
]

/** Kernels that we accept and libxenguest 4.17 refuses. An entry checks the kernel, since the peer gives no reason. */
const LOOSER: readonly {
  readonly applies: (kernel: Kernel, type: 'pv' | 'pvh') => boolean
  readonly reason: string
}[] = [
  {
    applies: ({ notes, elf }) =>
      notes.some(({ desc, from }, i) => {
        const next = notes[i + 1]
        const end = desc.byteOffset - (elf?.bytes.byteOffset ?? 0) + alignUp(desc.length, 4)
        return next?.from === from && next.offset > end
      }),
    reason: "Xen loses what follows a linker's padding between notes: we resynchronise (PV, PVH)",
  },
  {
    applies: ({ xen }, type) => type === 'pvh' && xen?.paddrOffset !== undefined && xen.virtBase === undefined,
    reason: 'Xen 4.17 wants VIRT_BASE with PADDR_OFFSET even of a PVH kernel; later ones do not',
  },
]

interface Ours {
  readonly kernel?: Kernel
  readonly error?: DomainBuilderError
  readonly facts?: Readonly<Record<string, string>>
  /** A number that Xen takes for its "unset" value, so that its results are not comparable. */
  readonly sentinel?: boolean
}

async function ours(bytes: Uint8Array, type: 'pv' | 'pvh'): Promise<Ours> {
  try {
    const kernel = await readKernel(bytes)
    if (kernel.fault !== undefined) return { error: kernel.fault }
    const { virtBase, entry, paddrOffset, hypercallPage, initP2m, physEntry } = kernel.xen ?? {}
    const sentinel = [virtBase, entry, paddrOffset, hypercallPage, initP2m].includes(UNSET) || physEntry === 0xffffffff
    try {
      return { kernel, sentinel, facts: ourFacts(kernel, type) }
    } catch (error) {
      if (error instanceof DomainBuilderError) return { kernel, sentinel, error }
      throw error
    }
  } catch (error) {
    if (error instanceof DomainBuilderError) return { error }
    throw error
  }
}

/** Returns the difference, or undefined if we agree or differ as STRICTER or LOOSER says. */
function compare(type: 'pv' | 'pvh', peer: PeerVerdict, { kernel, error, facts, sentinel }: Ours, met: Set<string>) {
  if (sentinel || peer.outcome === 'crashed') return undefined
  const known = (wrong: string, reason: string | undefined) => {
    if (reason !== undefined) met.add(reason)
    return reason === undefined ? wrong : undefined
  }
  const looser = () => LOOSER.find(({ applies }) => kernel !== undefined && applies(kernel, type))?.reason
  if (peer.outcome === 'refused') return error ? undefined : known(`Xen refuses it: ${peer.said}`, looser())
  if (error) {
    const stricter = STRICTER.find(({ message }) => message.test(error.message))?.reason
    return known(`Xen accepts it, we say: ${error.message}`, stricter ?? looser())
  }
  const wrong = factDifferences(facts ?? {}, peer)
  return wrong.length === 0 ? undefined : known(wrong.join('; '), looser())
}

/** A sound kernel with a few bytes of its headers or notes changed. */
function damaged(seed: number): Uint8Array {
  const random = new Random(seed)
  const bytes = randomKernel(seed).slice()
  for (let left = 1 + random.below(3); left > 0; left--) {
    // The headers and program headers, or the end of the file, which has notes and sections.
    const at = random.oneIn(3)
      ? bytes.length - 1 - random.below(Math.min(bytes.length, 800))
      : random.below(Math.min(bytes.length, 400))
    if (random.oneIn(2)) bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)])
    else bytes.set(random.bytes(random.pick([2, 4, 8])).subarray(0, bytes.length - at), at)
  }
  return random.oneIn(10) ? bytes.subarray(0, random.below(bytes.length)) : bytes
}

const cases = [
  ['made', KERNELS, randomKernel],
  ['made and damaged', DAMAGED, damaged],
] as const
for (const [what, count, make] of cases) {
  t.test(`${count} kernels, ${what}`, async (t) => {
    const program = await requirePeer(t, findAcceptance)
    if (program === undefined) return
    const dir = join(t.testdir({}), 'kernels')
    mkdirSync(dir)
    const questions = Array.from({ length: count }, (_, seed) => seed).flatMap((seed) => {
      const file = join(dir, `${seed}`)
      const bytes = make(seed)
      writeFileSync(file, bytes)
      return (['pv', 'pvh'] as const).map((type) => ({ type, file, seed, bytes }))
    })
    const peers = await peerVerdicts(program, questions)
    const counts = { agreed: 0, accepted: 0, refused: 0, crashed: 0 }
    const met = new Set<string>()
    for (const [i, { type, seed, bytes }] of questions.entries()) {
      const peer = peers[i] as PeerVerdict
      counts[peer.outcome]++
      const wrong = compare(type, peer, await ours(bytes, type), met)
      if (wrong === undefined) counts.agreed++
      else t.fail(`seed ${seed}, ${type}: ${wrong}`)
    }
    t.equal(counts.agreed, questions.length)
    t.ok(counts.accepted > count / 10 && counts.refused > count / 10, 'both outcomes are met')
    t.comment(JSON.stringify(counts))
    for (const reason of met) t.comment(`differs: ${reason}`)
  })
}
