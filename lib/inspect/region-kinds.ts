/**
 * The kinds of regions, and so their colours: a kind has the same colour in every drawing of every guest.
 *
 * Source: our own design; the names are those that ../protocol gives to regions.
 * Gotcha: a name from a file may be any text. Memory without a name, and padding, have no kind.
 */

/** The kinds: a name for the legend, and the names of its regions. A region's tint is the index of its kind. */
const KINDS: readonly (readonly [string, RegExp])[] = [
  ['kernel', /^(kernel|setup|bsd_symtab)$/],
  ['ramdisk, modules', /^(ramdisk|module)\d*$/],
  ['boot information', /^(start_info|boot_params|hvm_start_info|cmdline|setup_data|modules|shared_info)$/],
  ['page tables', /(^|_)page_tables$|^ident_pt$/],
  ['p2m', /^p2m$/],
  ['shared pages', /^(xenstore|console)$|(ring|ioreq)$/],
  ['stack, GDT', /^(boot_stack|gdt)$/],
  ['ACPI tables', /^acpi$/],
  ['other regions', /^/],
]

/** The number of tints. */
export const TINTS = KINDS.length

/** Returns the tint of a region. */
export const tintOf = (name: string): number | undefined =>
  name === 'pad' ? undefined : KINDS.findIndex(([, names]) => names.test(name))

/** Returns the name of the kind with a tint. */
export const kindName = (tint: number): string => KINDS[tint]?.[0] ?? ''
