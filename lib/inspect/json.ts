/**
 * Json: what a view gives to JSON.stringify.
 *
 * Source: https://www.rfc-editor.org/rfc/rfc8259
 * Gotcha: there is no bigint in it: addresses and u64 are hex strings, so that the JSON survives every parser.
 */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }
