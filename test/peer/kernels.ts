/**
 * Real kernels: their names, the Debian package of each, and the path of the fetched copy.
 *
 * Source: Debian's archive, through apt; GRUB's images are made by its grub-mkimage from its modules.
 * Gotcha: a stored hash would become wrong when the archive changes, so tests compare with a peer on the same file.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDir } from './paths.js'
import type { Found } from './require-peer.js'

export type Architecture = 'amd64' | 'i386'

/** A file from a package. */
interface PackagedKernel {
  readonly package: string
  readonly arch: Architecture
  /** The path in the package: a shell pattern that matches exactly one file. */
  readonly file: string
  /** If `package` is only a metapackage: the prefix of the package that it depends on, and so on to the kernel's. */
  readonly current?: readonly string[]
  /** A suite of Debian other than the machine's. */
  readonly suite?: string
}

/** An image that grub-mkimage makes. */
export interface GrubKernel {
  readonly package: 'grub-xen-bin'
  readonly arch: 'amd64'
  /** Whether it ends by itself after reporting its name; otherwise it stays at its prompt. */
  readonly halts: boolean
  readonly grub: 'x86_64-xen' | 'i386-xen' | 'i386-xen_pvh'
}

export type KernelSource = PackagedKernel | GrubKernel

const linux = (flavour: string, arch: Architecture = 'amd64'): PackagedKernel => ({
  package: `linux-image-${flavour}`,
  arch,
  file: './boot/vmlinuz-*',
  current: ['linux-image-'],
})
const gnumach = (arch: Architecture): PackagedKernel => ({
  package: 'gnumach-image-1.8-xen-486',
  arch,
  file: './boot/gnumach-*.gz',
})
const grub = (target: GrubKernel['grub'], halts = false): GrubKernel => ({
  package: 'grub-xen-bin',
  arch: 'amd64',
  grub: target,
  halts,
})

export const KERNELS = {
  'debian-amd64': linux('amd64'),
  'debian-cloud-amd64': linux('cloud-amd64'),
  'debian-rt-amd64': linux('rt-amd64'),
  'debian-6.12-cloud-amd64': linux('6.12-cloud-amd64'),
  'debian-686-pae': linux('686-pae', 'i386'),
  'gnumach-i386': gnumach('i386'),
  'gnumach-amd64': gnumach('amd64'),
  'grub-x86_64-xen': grub('x86_64-xen'),
  'grub-i386-xen': grub('i386-xen'),
  'grub-i386-xen_pvh': grub('i386-xen_pvh'),
  'grub-x86_64-xen-halts': grub('x86_64-xen', true),
  'grub-i386-xen-halts': grub('i386-xen', true),
  memdisk: { package: 'syslinux-common', arch: 'amd64', file: './usr/lib/syslinux/memdisk' },
  ipxe: { package: 'ipxe', arch: 'amd64', file: './boot/ipxe.lkrn' },
  'memtest86+-x64': { package: 'memtest86+', arch: 'amd64', file: './boot/memtest86+x64.bin' },
  'memtest86+-ia32': { package: 'memtest86+', arch: 'amd64', file: './boot/memtest86+ia32.bin' },
  'xen-hypervisor': { package: 'xen-hypervisor-4.17-amd64', arch: 'amd64', file: './boot/xen-4.17-amd64.gz' },
  'xen-shim': { package: 'xen-utils-4.17', arch: 'amd64', file: './usr/lib/xen-4.17/boot/xen-shim' },
  hvmloader: { package: 'xen-utils-4.17', arch: 'amd64', file: './usr/lib/xen-4.17/boot/hvmloader' },
} as const satisfies Record<string, KernelSource>

export type KernelName = keyof typeof KERNELS
export const KERNEL_NAMES = Object.keys(KERNELS) as KernelName[]

const file = (from: string, path: string, arch: Architecture = 'amd64', suite?: string): PackagedKernel => ({
  package: from,
  arch,
  file: path,
  ...(suite !== undefined && { suite }),
})
const linuxOf = (suite: string, flavour: string, arch: Architecture = 'amd64'): PackagedKernel => ({
  ...linux(flavour, arch),
  suite,
})
/** Since Linux 7 a separate package has the kernel. */
const linuxOfSid = (flavour: string): PackagedKernel => ({
  ...file(`linux-image-${flavour}`, './usr/lib/modules/*/vmlinuz', 'amd64', 'sid'),
  current: ['linux-image-', 'linux-binary-'],
})

/**
 * Further kernels, and files that look like kernels, of every suite that the archive has. They are for a test of many
 * kernels; a suite that the archive no longer has is not an error.
 */
export const FURTHER = {
  'bookworm-686': linux('686', 'i386'),
  'bookworm-rt-686-pae': linux('rt-686-pae', 'i386'),
  'bookworm-6.12-rt-amd64': linux('6.12-rt-amd64'),
  'backports-cloud-amd64': linuxOf('bookworm-backports', 'cloud-amd64'),
  'trixie-amd64': linuxOf('trixie', 'amd64'),
  'bullseye-cloud-amd64': linuxOf('bullseye', 'cloud-amd64'),
  'bullseye-rt-amd64': linuxOf('bullseye', 'rt-amd64'),
  'bullseye-686': linuxOf('bullseye', '686', 'i386'),
  'bullseye-686-pae': linuxOf('bullseye', '686-pae', 'i386'),
  'sid-amd64': linuxOfSid('amd64'),
  'sid-cloud-amd64': linuxOfSid('cloud-amd64'),
  'sid-rt-amd64': linuxOfSid('rt-amd64'),
  'xen-4.14': file('xen-hypervisor-4.14-amd64', './boot/xen-*.gz', 'amd64', 'bullseye'),
  'xen-4.20': file('xen-hypervisor-4.20-amd64', './boot/xen-*.gz', 'amd64', 'trixie'),
  'xen-4.20-shim': file('xen-utils-4.20', './usr/lib/xen-4.20/boot/xen-shim', 'amd64', 'trixie'),
  'gnumach-pc-i386': file('gnumach-image-1.8-486', './boot/gnumach-*.gz', 'i386'),
  'gnumach-pc-amd64': file('gnumach-image-1.8-amd64-up', './boot/gnumach-*.gz', 'amd64', 'trixie'),
  'gnumach-xen-amd64': file('gnumach-image-1.8-xen-amd64', './boot/gnumach-*.gz', 'amd64', 'trixie'),
  tboot: file('tboot', './boot/tboot.gz'),
  'grub-lnxboot': file('grub-pc-bin', './usr/lib/grub/i386-pc/lnxboot.img'),
  'grub-kernel-pc': file('grub-pc-bin', './usr/lib/grub/i386-pc/kernel.img'),
  'grub-kernel-coreboot': file('grub-coreboot-bin', './usr/lib/grub/i386-coreboot/kernel.img'),
  'grub-kernel-ieee1275': file('grub-ieee1275-bin', './usr/lib/grub/i386-ieee1275/kernel.img'),
  'grub-kernel-xen': file('grub-xen-bin', './usr/lib/grub/x86_64-xen/kernel.img'),
  'grub-invaders': file('grub-invaders', './boot/invaders.exec'),
  'grub-stage2': file('grub-legacy', './usr/lib/grub/x86_64-pc/stage2'),
  'u-boot-x86': file('u-boot-qemu', './usr/lib/u-boot/qemu-x86/uboot.elf'),
  'u-boot-x86_64': file('u-boot-qemu', './usr/lib/u-boot/qemu-x86_64/uboot.elf'),
  'u-boot-arm64': file('u-boot-qemu', './usr/lib/u-boot/qemu_arm64/uboot.elf'),
  'u-boot-ppc': file('u-boot-qemu', './usr/lib/u-boot/qemu-ppce500/uboot.elf'),
  seabios: file('seabios', './usr/share/seabios/bios.bin'),
  'ipxe-efi': file('ipxe', './boot/ipxe.efi'),
  'memtest86+-7': file('memtest86+', './boot/memtest86+x64.bin', 'amd64', 'trixie'),
  'memtest86+-5': file('memtest86+', './boot/memtest86+.bin', 'amd64', 'bullseye'),
  memtest86: file('memtest86', './boot/memtest86.bin', 'amd64', 'bullseye'),
  isolinux: file('isolinux', './usr/lib/ISOLINUX/isolinux.bin'),
  'mboot.c32': file('syslinux-common', './usr/lib/syslinux/modules/bios/mboot.c32'),
  'systemd-stub': file('systemd-boot-efi', './usr/lib/systemd/boot/efi/linuxx64.elf.stub'),
} as const satisfies Record<string, PackagedKernel>

export type FurtherName = keyof typeof FURTHER
export const FURTHER_NAMES = Object.keys(FURTHER) as FurtherName[]

/** A kernel that was fetched: its package in the archive, and its content. */
export interface FetchedKernel {
  readonly name: KernelName | FurtherName
  readonly package: string
  readonly version: string
  /** The file's name in the package. */
  readonly file: string
  readonly sha256: string
}

export const kernelsDir = join(cacheDir, 'kernels')
export const kernelsIndex = join(kernelsDir, 'index.json')
export const kernelPath = (name: KernelName | FurtherName): string => join(kernelsDir, name)

/** Returns every fetched kernel that still exists. */
export function fetchedKernels(): FetchedKernel[] {
  if (!existsSync(kernelsIndex)) return []
  const index = JSON.parse(readFileSync(kernelsIndex, 'utf8')) as FetchedKernel[]
  return index.filter(({ name }) => existsSync(kernelPath(name)))
}

/** Returns the path of a fetched kernel, or undefined. */
export function kernel(name: KernelName): string | undefined {
  return fetchedKernels().some((k) => k.name === name) ? kernelPath(name) : undefined
}

/** The same for requirePeer(). */
export async function findKernel(name: KernelName): Promise<Found<string>> {
  const found = kernel(name)
  return found === undefined ? { missing: `${name} was not fetched: npm run kernels` } : { found }
}

/** Programs from the same packages: independent readers of kernels. */
export const TOOLS = {
  readnotes: file('xen-utils-4.17', './usr/lib/xen-4.17/bin/readnotes'),
} as const satisfies Record<string, PackagedKernel>

export type ToolName = keyof typeof TOOLS
export const TOOL_NAMES = Object.keys(TOOLS) as ToolName[]
export const toolsDir = join(cacheDir, 'tools')
export const toolPath = (name: ToolName): string => join(toolsDir, name)

/** A fetched program, for requirePeer(). */
export async function findTool(name: ToolName): Promise<Found<string>> {
  return existsSync(toolPath(name))
    ? { found: toolPath(name) }
    : { missing: `${name} was not fetched: npm run kernels` }
}
