/** Files that are brought as kernels are named by their first bytes, written here as their specifications have them. */
import t from 'tap'
import { encodeLatin1 } from '../../lib/bytes.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { refuses } from './refusal.js'

/** Returns 64 KiB with bytes, text or u32s at offsets; everything else is a byte that no format begins with. */
function file(parts: Readonly<Record<number, string | readonly number[] | { readonly u32: readonly number[] }>>) {
  const out = new Uint8Array(0x10000).fill(1)
  const view = new DataView(out.buffer)
  for (const [offset, part] of Object.entries(parts)) {
    const at = Number(offset)
    if (typeof part === 'string') out.set(encodeLatin1(part), at)
    else if ('u32' in part) for (const [i, word] of part.u32.entries()) view.setUint32(at + 4 * i, word, true)
    else out.set(part as readonly number[], at)
  }
  return out
}

const multiboot = (flags: number) => ({ u32: [0x1badb002, flags, -(0x1badb002 + flags) >>> 0] })
const multiboot2 = { u32: [0xe85250d6, 0, 24, -(0xe85250d6 + 24) >>> 0] }

const NAMED: readonly (readonly [Uint8Array, string])[] = [
  [file({ 0: 'MZ', 4: 'zimg' }), 'an EFI zboot image'],
  [file({ 36: { u32: [0x016f2818] } }), 'an arm zImage'],
  [file({ 0: 'MZ', 56: { u32: [0x644d5241] } }), 'an arm64 Linux Image'],
  [file({ 0: 'MZ', 48: 'RISCV\0\0\0', 56: { u32: [0x05435352] } }), 'a RISC-V Linux Image'],
  [file({ 0: { u32: [0x4d564749] } }), 'an IGVM file'],
  [file({ 0: [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3] }), 'a qcow2 disk'],
  [file({ 0: { u32: [0x564d444b] } }), 'a VMDK disk'],
  [file({ 0: '# Disk DescriptorFile\n' }), 'a VMDK disk'],
  [file({ 0: 'vhdxfile' }), 'a VHDX disk'],
  [file({ 0: 'conectix' }), 'a VHD disk'],
  [file({ 0: 'KDUMP   ' }), 'a kdump file of makedumpfile'],
  [file({ 0: 'DISKDUMP' }), 'a dump of diskdump'],
  [file({ 0: 'makedumpfile\0\0\0\0' }), 'a flattened kdump file'],
  [file({ 0: { u32: [0x4c694d45] } }), 'a LiME memory dump'],
  [file({ 4096: multiboot(3) }), 'a Multiboot kernel that is not an ELF'],
  [file({ 8180: multiboot(0x10003) }), 'a Multiboot kernel that is not an ELF'],
  [file({ 32752: multiboot2 }), 'a Multiboot2 kernel that is not an ELF'],
  [file({ 0: [0xef, 0xbb, 0xbf], 3: 'kernel = "a"' }), 'a text file with the byte order mark of UTF-8'],
  [file({ 0: [0xff, 0xfe] }), 'a text file with the byte order mark of UTF-16'],
  [file({ 0: [0xfe, 0xff] }), 'a text file with the byte order mark of big-endian UTF-16'],
]

t.test('each by its name', async (t) => {
  for (const [bytes, name] of NAMED) await refuses(t, () => readKernel(bytes), 'not-a-kernel', `found ${name}`)
})

t.test('a Multiboot header counts only in its place and with its sum', async (t) => {
  for (const bytes of [
    file({ 4098: multiboot(3) }),
    file({ 8192: multiboot(3) }),
    file({ 4096: { u32: [0x1badb002, 3, 0] } }),
    file({ 32768: multiboot2 }),
    file({ 4100: multiboot2 }),
  ])
    await refuses(t, () => readKernel(bytes), 'not-a-kernel', 'found data that begins with 01 01 01 01')
})
