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
  /** The prefix of the package with the kernel, if `package` is only a metapackage that depends on it. */
  readonly current?: string
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
  current: 'linux-image-',
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

/** A kernel that was fetched: its package in the archive, and its content. */
export interface FetchedKernel {
  readonly name: KernelName
  readonly package: string
  readonly version: string
  /** The file's name in the package. */
  readonly file: string
  readonly sha256: string
}

export const kernelsDir = join(cacheDir, 'kernels')
export const kernelsIndex = join(kernelsDir, 'index.json')
export const kernelPath = (name: KernelName): string => join(kernelsDir, name)

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
  readnotes: { package: 'xen-utils-4.17', arch: 'amd64', file: './usr/lib/xen-4.17/bin/readnotes' },
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
