/**
 * Json: the value that a view gives to JSON.stringify.
 *
 * A hex string (`0x...`) is a value that may have 64 bits. That is an address, a register, a page-table entry, a word
 * of a note, or any field of a structure of the ABI. A number is a count, a size, a frame number (pfn, mfn), an index,
 * or an offset in a file. Text is as the file has it.
 *
 * Source: https://www.rfc-editor.org/rfc/rfc8259; section 6 says that numbers beyond 2^53 do not survive every parser.
 * Gotcha: it must not contain a bigint: JSON.stringify throws for one.
 */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }
