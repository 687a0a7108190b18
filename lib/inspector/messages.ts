/**
 * The messages between the page and its worker.
 *
 * Source: https://html.spec.whatwg.org/#dedicated-workers-and-the-worker-interface; our own design.
 * Gotcha: a message is copied. A File is copied as a reference, so that its bytes stay on the disk.
 */
import type { VerdictType } from '../kernel/verdict.js'
import type { SnapshotFormatName } from '../snapshot/formats.js'

/** The values of the form, as text; an empty text is the default. */
export interface GuestWords {
  readonly type: VerdictType | 'auto'
  /** As the option --memory: `256M`; a bare number is MiB. */
  readonly memory: string
  readonly vcpus: string
  readonly cmdline: string
}

/** A file that the page makes: a snapshot, the JSON of `inspect` or the drawing of `map`. */
export type Product = SnapshotFormatName | 'json' | 'svg'

/** The page's request. A request replaces an earlier one of its kind; `open` and `cancel` replace all. */
export type Ask =
  | { readonly ask: 'open'; readonly files: readonly File[] }
  | { readonly ask: 'build'; readonly words: GuestWords; readonly ramdisks: readonly File[] }
  | { readonly ask: 'save'; readonly product: Product; readonly words: GuestWords; readonly ramdisks: readonly File[] }
  | { readonly ask: 'cancel' }

/** Whether a kernel boots in one way, as in the answer `verdicts`. */
export interface ShownVerdict {
  readonly type: string
  readonly ok: boolean
  /** The address of the entry, or the cause. */
  readonly said: string
  readonly needs: readonly string[]
}

/** The content of the files. */
export type Subject =
  | { readonly kind: 'kernel'; readonly name: string; readonly verdicts: readonly ShownVerdict[] }
  | { readonly kind: 'guest'; readonly name: string }
  | { readonly kind: 'two'; readonly name: string }

/** The lines that a command of `xdb` prints. */
export interface Lines {
  /** Such as `inspect vmlinuz`. */
  readonly command: string
  readonly lines: readonly string[]
}

/** A refusal, as the command prints it. */
export interface Refusal {
  readonly code: string
  readonly message: string
}

/** A part of the worker's answer. */
export type Tell =
  | { readonly tell: 'progress'; readonly doing: string; readonly done: number; readonly total: number }
  | { readonly tell: 'subject'; readonly subject: Subject }
  | { readonly tell: 'lines'; readonly lines: Lines }
  | { readonly tell: 'guest'; readonly map: string; readonly lines: Lines }
  | { readonly tell: 'files'; readonly files: readonly { readonly name: string; readonly blob: Blob }[] }
  | { readonly tell: 'refused'; readonly refusal: Refusal }
  | { readonly tell: 'end' }

/** A message of the worker, with the kind of the request that it answers. */
export type Told = Tell & { readonly of: Ask['ask'] }
