/**
 * What a guest is for: it decides what a builder fills in, and a snapshot format may ask for one.
 *
 * Source: what libxenguest leaves to the hypervisor; what `xl restore` clears (xen/tools/libs/guest, the facts alone).
 * Gotcha: the bytes of a PV guest differ by its purpose. Only `create` equals what libxenguest builds.
 */

/** Every purpose. */
export const PURPOSES = ['create', 'restore', 'vmm'] as const
/**
 * What a guest is for.
 *
 * - `create`: a toolstack creates it on a running Xen, which fills the hypercall page. Equal to what libxenguest builds.
 * - `restore`: `xl restore` starts it from a save file. A PV guest's hypercall page is filled and its ramdisk is mapped,
 *   since restoring clears `start_info.flags`, which would say that `mod_start` is a frame.
 * - `vmm`: a VMM, or a hypervisor of your own, starts it. A PV guest's hypercall page is filled; a PVH guest finds a PC.
 */
export type Purpose = (typeof PURPOSES)[number]
