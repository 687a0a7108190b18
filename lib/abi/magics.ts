/**
 * The first bytes of files that are mistaken for kernels or snapshots, so that a refusal can name the kind of file.
 *
 * Source: each format's own specification, as file(1) collects them
 * (https://github.com/file/file/tree/master/magic/Magdir), except for those that it lacks:
 * Linux drivers/firmware/efi/libstub/zboot-header.S; IGVM (https://github.com/microsoft/igvm, igvm_defs);
 * makedumpfile IMPLEMENTATION and diskdump_mod.h; LiME doc (https://github.com/504ensicsLabs/LiME). For guests, the
 * programs that write them: Xen's xend, libvirt, QEMU, VirtualBox (SSM.cpp), AVML; and the readers of other ones:
 * volatility3 (vmware, crash), dissect.hypervisor (vmrs).
 * Gotcha: only for messages. These bytes never decide how a file is read.
 */

/** A kind of file and its first bytes. */
export interface Magic {
  readonly what: string
  readonly offset: number
  readonly bytes: readonly number[] | string
}

/** Guests as other programs keep them, each with a file that can be read instead. */
export const GUEST_FILES: readonly (Magic & { readonly instead: string })[] = [
  {
    what: 'an XVA export of XCP-ng or XenServer, which has disks and no memory',
    offset: 0,
    bytes: 'ova.xml\0',
    instead: 'a core: start the VM there, then xl dump-core',
  },
  ...['\xd0\xbe\xd2\xbe', '\xd1\xba\xd1\xba', '\xd2\xbe\xd2\xbe', '\xd3\xbe\xd3\xbe'].map((bytes) => ({
    what: 'the state of a VMware VM (.vmss, .vmsn)',
    offset: 0,
    bytes,
    instead: 'the .vmem file next to it, which is an image of memory',
  })),
  {
    what: 'the state of a Hyper-V VM (.vmrs)',
    offset: 0,
    bytes: [0x14, 0x20, 0x28, 0x01],
    instead: "an image of memory, which programs of Microsoft's VmSavedStateDumpProvider write",
  },
  {
    what: 'the saved state of a VirtualBox VM',
    offset: 0,
    bytes: '\x7fVirtualBox SavedState V',
    instead: 'an image of memory: start the VM there, then write one with LiME in it',
  },
  {
    what: 'a crash dump of Windows',
    offset: 0,
    bytes: 'PAGEDU',
    instead: "an image of memory: volatility's layerwriter writes one",
  },
  {
    what: 'a minidump of Windows, as ProcDump writes it of a process',
    offset: 0,
    bytes: 'MDMP',
    instead: 'a dump of the whole machine',
  },
  {
    what: 'a compressed memory dump of AVML',
    offset: 0,
    bytes: 'AVML',
    instead: 'the output of avml-convert --format lime',
  },
  {
    what: 'a Xen guest that libvirt saved (virsh save of its libxl driver)',
    offset: 0,
    bytes: 'libvirt-xml\n \0 \r',
    instead: 'a core: virsh restore, then virsh dump',
  },
  {
    what: 'a migration stream of QEMU whose version is unknown',
    offset: 0,
    bytes: 'QEVM',
    instead: 'a stream of version 3',
  },
  {
    what: "the state of a Xen guest's device model alone",
    offset: 0,
    bytes: 'QemuDeviceModelRecord',
    instead: 'the whole file of xl save',
  },
  {
    what: "the state of a Xen guest's device model alone",
    offset: 0,
    bytes: 'DeviceModelRecord0002',
    instead: 'the whole file of xl save',
  },
  {
    what: 'a guest that xend saved (xm save)',
    offset: 0,
    bytes: 'LinuxGuestRecord',
    instead: 'a file of xl save: xm restore, then save it with xl',
  },
  {
    what: 'a core of xm dump-core before Xen 3.1',
    offset: 0,
    bytes: [0xed, 0xeb, 0x0f, 0xf0],
    instead: 'a core of xl dump-core',
  },
  {
    what: 'a core of xm dump-core before Xen 3.1',
    offset: 0,
    bytes: [0xee, 0xeb, 0x0f, 0xf0],
    instead: 'a core of xl dump-core',
  },
]

/** Files that are no guests. */
export const LOOKALIKES: readonly Magic[] = [
  { what: 'a Linux initramfs (cpio)', offset: 0, bytes: '07070' },
  { what: 'a uImage of U-Boot', offset: 0, bytes: [0x27, 0x05, 0x19, 0x56] },
  { what: 'a device tree blob or FIT image', offset: 0, bytes: [0xd0, 0x0d, 0xfe, 0xed] },
  { what: 'an arm64 Linux Image', offset: 0x38, bytes: 'ARMd' },
  { what: 'a RISC-V Linux Image', offset: 0x38, bytes: 'RSC\x05' },
  { what: 'an arm zImage', offset: 0x24, bytes: [0x18, 0x28, 0x6f, 0x01] },
  { what: 'an EFI zboot image, which has a compressed kernel of another processor', offset: 4, bytes: 'zimg' },
  { what: 'an IGVM file', offset: 0, bytes: 'IGVM' },
  { what: 'an Android boot image', offset: 0, bytes: 'ANDROID!' },
  { what: 'a qcow2 disk', offset: 0, bytes: 'QFI\xfb' },
  { what: 'a VMDK disk', offset: 0, bytes: 'KDMV' },
  { what: 'a VMDK disk', offset: 0, bytes: '# Disk DescriptorFile' },
  { what: 'a VHDX disk', offset: 0, bytes: 'vhdxfile' },
  { what: 'a VHD disk', offset: 0, bytes: 'conectix' },
  { what: 'a kdump file of makedumpfile', offset: 0, bytes: 'KDUMP   ' },
  { what: 'a dump of diskdump', offset: 0, bytes: 'DISKDUMP' },
  { what: 'a flattened kdump file of makedumpfile', offset: 0, bytes: 'makedumpfile' },
  { what: 'a LiME memory dump', offset: 0, bytes: 'EMiL' },
  { what: 'a squashfs file system', offset: 0, bytes: 'hsqs' },
  { what: 'an ISO 9660 image', offset: 0x8001, bytes: 'CD001' },
  { what: 'an ext2, ext3 or ext4 file system', offset: 0x438, bytes: [0x53, 0xef] },
  { what: 'a tar archive', offset: 257, bytes: 'ustar' },
  { what: 'a zip archive', offset: 0, bytes: 'PK\x03\x04' },
  { what: 'a Debian package or another ar archive', offset: 0, bytes: '!<arch>\n' },
  { what: 'a Mach-O binary', offset: 0, bytes: [0xcf, 0xfa, 0xed, 0xfe] },
  { what: 'a saved Xen domain (xl)', offset: 0, bytes: 'Xen saved domain, xl format' },
  { what: 'a saved Xen domain (xl) whose first bytes are damaged', offset: 4, bytes: 'saved domain, xl format' },
  { what: 'an EFI or Windows program without a Linux setup header or a .linux section', offset: 0, bytes: 'MZ' },
  { what: 'a boot sector or a disk image', offset: 0x1fe, bytes: [0x55, 0xaa] },
]
