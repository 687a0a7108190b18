/**
 * Shows Xen the guests in which `validate` finds violations: each is restored from our file, and one table has Xen's
 * verdicts.
 *
 * Source: xen/arch/x86/mm.c (promote_l1_table to promote_l4_table, get_page_from_l1e),
 * tools/libs/guest/xg_sr_restore_x86_pv.c.
 * Gotcha: only a DEBUG Xen gives the reason of a refusal. Not all damage in the file reaches it: restoring translates
 * tables, and checks cr3 and its type, before it calls Xen.
 */
import { type Domain, writeXl } from '../../lib/index.js'
import { type DamageName, damagedGuest, damages, linearGuest, soundGuest } from '../fixtures/damage.js'
import { bytesOf } from '../fixtures/snapshots.js'
import type { CheckedCase } from './check.js'

type Verdict =
  /** Xen refuses the tables, with this text in its log. */
  | { readonly xen: RegExp }
  /** Restoring refuses the file with this text, before it calls Xen. */
  | { readonly restoring: RegExp; readonly why: string }
  /** Xen accepts the guest; a 64-bit guest is then run, and this is its whole console output. */
  | { readonly accepted: string; readonly console?: string }

const HELLO = 'hello from start_info, nr_pages=0x2000\n'

/** The message of restoring for a pfn after the last one, with which it aborts. */
const PAST_THE_END = /Assertion `pfn <= ctx->x86\.pv\.max_pfn' failed/

// Xen logs `linear p.t. with write perms` for every table that fails with EINVAL; the slot tells if that is the cause.
const VERDICTS: Readonly<Record<DamageName, Verdict>> = {
  'l1-writable': { xen: /Could not get page type PGT_writable_page/ },
  'l4-writable': { xen: /Could not get page type PGT_writable_page/ },
  'pae-l2-writable': { xen: /Could not get page type PGT_writable_page/ },
  'l1-ordinary': { xen: /Failure -\d+ in promote_l1_table/ },
  'l2-declared-l1': {
    accepted: 'a type that is not pinned only tells restoring what to translate; Xen finds out for itself',
    console: HELLO,
  },
  'l4-declared-l3': {
    restoring: /cr3 \(pfn 0x[0-9a-f]+\) has bad type 11, expected 4/,
    why: 'restoring compares the type with what cr3 needs',
  },
  'pae-l3-declared-l4': {
    restoring: /cr3 \(pfn 0x[0-9a-f]+\) has bad type 12, expected 3/,
    why: 'restoring compares the type with what cr3 needs',
  },
  'l4-not-pinned': {
    accepted: 'cr3 holds the table too; it is the guest that fails, when it first unpins the table or loads another',
    console: HELLO,
  },
  'l1-as-l2': { xen: /Bad type \(saw 2\w+ != exp 4\w+\)/ },
  'l4-names-itself': { xen: /linear p\.t\. with write perms\r?\n.*promote_l4_table: slot 0x12c/ },
  'l3-names-itself': { xen: /linear p\.t\. with write perms\r?\n.*promote_l3_table: slot 0x9/ },
  'leaf-beyond-p2m': {
    restoring: PAST_THE_END,
    why: 'restoring looks the frame up in its p2m, and stops itself',
  },
  'leaf-unowned': { xen: /non-privileged attempt to map MMIO space/ },
  'leaf-at-the-end': { restoring: PAST_THE_END, why: 'restoring looks the frame up in its p2m, and stops itself' },
  'l2-beyond-p2m': { restoring: PAST_THE_END, why: 'restoring looks the frame up in its p2m, and stops itself' },
  'pae-leaf-beyond-p2m': { restoring: PAST_THE_END, why: 'restoring looks the frame up in its p2m, and stops itself' },
  'cr3-beyond-p2m': { restoring: /cr3 \(pfn 0x270f\) out of range/, why: 'restoring translates cr3' },
  'leaf-cache': { xen: /Bad L1 flags (0x)?18/ },
  'l2-global': { xen: /Bad L2 flags 100/ },
  'l4-bit7': { xen: /Bad L4 flags 80/ },
  'pae-l3-nx': { xen: /Failure -22 in promote_l3_table: slot 0x3/ },
  'l2-large': { xen: /Bad L2 flags 80/ },
  'l3-large': { xen: /Bad L3 flags 80/ },
  'l4-xens': { accepted: 'Xen does not look at its own slots: it fills them', console: HELLO },
  'pae-xens': { accepted: 'Xen does not look at its own slots: it fills them' },
  'pae-no-slot-3': { xen: /Failure -22 in promote_l3_table: slot 0x3/ },
  'pae-slot-3-twice': { xen: /Failure -\d+ in promote_l3_table/ },
  'entry-unmapped': {
    accepted: 'Xen does not look at registers; the guest ends with its first instruction',
    console: '',
  },
  'stack-read-only': { accepted: 'Xen does not look at registers; the guest faults when it pushes', console: '' },
  'rsi-elsewhere': { accepted: 'Xen does not look at registers; the guest finds no start_info', console: '' },
}

const saved = (domain: Domain): Uint8Array => bytesOf(writeXl(domain))

/** Restores a guest paused; a 64-bit guest is then run to its end, and its console is compared. */
function acceptedCase(name: string, guest: () => Promise<Domain>, why: string, console?: string): CheckedCase {
  return {
    name,
    files: { saved: async () => saved(await guest()) },
    steps: ['xl restore -p saved', 'domid', ...(console === undefined ? [] : ['xl unpause $NAME', 'gone'])],
    check(t, result) {
      t.pass(why)
      if (console !== undefined) t.equal(result.console, console)
    },
  }
}

/** Checks that a guest is refused and leaves no domain, and that dom0 goes on. */
function refusedCase(
  name: string,
  guest: () => Promise<Domain>,
  verdict: Exclude<Verdict, { accepted: string }>,
): CheckedCase {
  return {
    name,
    files: { saved: async () => saved(await guest()) },
    steps: ['refused xl restore -p saved', 'gone'],
    check(t, { log, xen }) {
      if ('xen' in verdict) t.match(xen, verdict.xen, "in Xen's words")
      else t.match(log, verdict.restoring, verdict.why)
    },
  }
}

/** Returns a case for each kind of damage, and one for each sound guest. */
export function damagedCases(): readonly CheckedCase[] {
  return [
    ...damages.map(([kind, damage]) => {
      const name = `damaged-${kind}`
      const guest = () => damagedGuest(damage, name)
      const verdict = VERDICTS[kind]
      return 'accepted' in verdict
        ? acceptedCase(name, guest, verdict.accepted, verdict.console)
        : refusedCase(name, guest, verdict)
    }),
    // Their names sort last, so they run after all refused guests.
    acceptedCase('undamaged-32', () => soundGuest(32, 'undamaged-32'), 'a sound PAE guest'),
    acceptedCase('undamaged-64', () => soundGuest(64, 'undamaged-64'), 'a sound guest', HELLO),
    acceptedCase(
      'undamaged-linear',
      () => linearGuest('undamaged-linear'),
      'a top table that maps itself read-only',
      HELLO,
    ),
  ]
}
