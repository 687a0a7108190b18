/**
 * The note walker: PT_NOTE segments first, SHT_NOTE sections as the fallback.
 *
 * Source: the System V ABI, chapter 5, "Note Section"; xen/include/public/elfnote.h.
 * Gotcha: name and descriptor are padded to 4 bytes whatever p_align says; GNU property notes in a merged segment
 * with p_align 8 are padded to 8, so the walk resynchronises there.
 */

export interface ElfNote {
  /** Exactly as in the file, without its NUL. */
  readonly owner: string
  readonly type: number
  /** Name of the type where the owner is Xen and we know it, e.g. ENTRY. */
  readonly name?: string
  readonly desc: Uint8Array
  /** File offset of the note's header. */
  readonly offset: number
  readonly from: 'PT_NOTE' | 'SHT_NOTE'
}
