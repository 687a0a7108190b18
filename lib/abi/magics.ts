/**
 * The first bytes of files that are mistaken for kernels, so that a refusal can name the kind of file.
 *
 * Source: each format's own specification, as file(1) collects them
 * (https://github.com/file/file/tree/master/magic/Magdir).
 * Gotcha: only for messages. These bytes never decide how a file is read.
 */
import { LIBXL_IDENT } from './save-stream.js'

interface Magic {
  readonly what: string
  readonly offset: number
  readonly bytes: readonly number[] | string
}

export const LOOKALIKES: readonly Magic[] = [
  { what: 'a Linux initramfs (cpio)', offset: 0, bytes: '07070' },
  { what: 'a uImage of U-Boot', offset: 0, bytes: [0x27, 0x05, 0x19, 0x56] },
  { what: 'a device tree blob or FIT image', offset: 0, bytes: [0xd0, 0x0d, 0xfe, 0xed] },
  { what: 'an arm64 Linux Image', offset: 0x38, bytes: 'ARMd' },
  { what: 'a RISC-V Linux Image', offset: 0x38, bytes: 'RSC\x05' },
  { what: 'an Android boot image', offset: 0, bytes: 'ANDROID!' },
  { what: 'a qcow2 disk', offset: 0, bytes: 'QFI\xfb' },
  { what: 'a squashfs file system', offset: 0, bytes: 'hsqs' },
  { what: 'an ISO 9660 image', offset: 0x8001, bytes: 'CD001' },
  { what: 'an ext2, ext3 or ext4 file system', offset: 0x438, bytes: [0x53, 0xef] },
  { what: 'a tar archive', offset: 257, bytes: 'ustar' },
  { what: 'a zip archive', offset: 0, bytes: 'PK\x03\x04' },
  { what: 'a Debian package or another ar archive', offset: 0, bytes: '!<arch>\n' },
  { what: 'a Mach-O binary', offset: 0, bytes: [0xcf, 0xfa, 0xed, 0xfe] },
  { what: 'a saved Xen domain (libxl)', offset: 0, bytes: LIBXL_IDENT },
  { what: 'a saved Xen domain (libxc)', offset: 8, bytes: 'XENF' },
  { what: 'a saved Xen domain (xl)', offset: 0, bytes: 'Xen saved domain, xl format' },
  { what: 'a saved Xen domain (xl) whose first bytes are damaged', offset: 4, bytes: 'saved domain, xl format' },
  { what: 'an EFI or Windows program without a Linux setup header', offset: 0, bytes: 'MZ' },
  { what: 'a boot sector or a disk image', offset: 0x1fe, bytes: [0x55, 0xaa] },
]
