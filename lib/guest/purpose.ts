/**
 * The purpose of a guest: it decides which parts a builder fills in, and a snapshot format may require one.
 *
 * Source: the parts that libxenguest leaves to the hypervisor; the parts that `xl restore` clears
 * (xen/tools/libs/guest, the facts alone).
 * Gotcha: the bytes of a PV guest differ by its purpose. Only `create` equals libxenguest's guest.
 */

/** Every purpose. */
export const PURPOSES = ['create', 'restore', 'vmm'] as const
/**
 * The purpose of a guest.
 *
 * - `create`: a toolstack creates it on a running Xen, which fills the hypercall page. Equal to libxenguest's guest.
 * - `restore`: `xl restore` starts it from a save file. A PV guest's hypercall page is filled. Its ramdisk is mapped,
 *   because restoring clears `start_info.flags`, which would say that `mod_start` is a frame.
 * - `vmm`: a VMM, or your own hypervisor, starts it. A PV guest's hypercall page is filled; a PVH guest finds a PC.
 */
export type Purpose = (typeof PURPOSES)[number]
