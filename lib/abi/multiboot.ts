/**
 * The headers by which a Multiboot kernel is found: three u32 (Multiboot 1) or four (Multiboot 2) that sum up to 0.
 *
 * Source: the Multiboot Specification 0.6.96, 3.1.1 (https://www.gnu.org/software/grub/manual/multiboot/multiboot.html);
 * the Multiboot2 Specification 2.0, 3.1.1 (https://www.gnu.org/software/grub/manual/multiboot2/multiboot.html).
 * Gotcha: a loader searches the file, not the memory, so offsets count from the ELF header.
 */

/** A header's magic, its alignment, the length of its summed fields, and the range of the file that must hold it. */
export const MULTIBOOT_HEADERS = [
  { name: 'Multiboot', magic: 0x1badb002, align: 4, words: 3, within: 8192 },
  { name: 'Multiboot2', magic: 0xe85250d6, align: 8, words: 4, within: 32768 },
] as const
