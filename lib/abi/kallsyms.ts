/**
 * kallsyms: the table of symbols that a Linux kernel carries in its read-only data.
 *
 * Source: Linux scripts/kallsyms.c, which writes the table, and kernel/kallsyms.c, which reads it.
 * Gotcha: the parts have had three orders and the addresses four encodings, and no header tells which.
 */

/** Entries of kallsyms_token_table, NUL-terminated texts, and of kallsyms_token_index, a u16 each. */
export const KALLSYMS_TOKENS = 256
/** Bytes of kallsyms_token_index. */
export const KALLSYMS_INDEX_BYTES = 2 * KALLSYMS_TOKENS
/** kallsyms_markers has the place of each such name in kallsyms_names. */
export const KALLSYMS_MARKER_STEP = 256
/** Bytes of an entry of kallsyms_seqs_of_names, since Linux 6.2. */
export const KALLSYMS_SEQ_BYTES = 3
/** The most characters of a name with its type: KSYM_NAME_LEN since Linux 6.1. */
export const KSYM_NAME_LEN = 512
/** The bit of a name's first byte that says that a second byte has the upper bits of the length, since Linux 6.1. */
export const KALLSYMS_LONG_NAME = 0x80

/** The bit of cr3 that names the tables of user mode, the page after the kernel's. Source: Linux arch/x86/entry/calling.h. */
export const PTI_USER_CR3 = 1n << 12n
