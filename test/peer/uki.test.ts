/**
 * UKIs as objcopy makes them: the same sections as objdump lists, and the same kernel as objcopy takes out again.
 *
 * Source: objcopy(1) and objdump(1) of binutils, by which ukify(1) added sections before systemd 254.
 * Gotcha: the PE program around them is systemd's stub if that is installed (systemd-boot-efi), or else objcopy's
 * conversion of an ELF.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readKernel } from '../../lib/kernel/kernel.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { compress } from '../kernel/codec-peers.js'
import { type Found, requirePeer } from './require-peer.js'

const STUB = '/usr/lib/systemd/boot/efi/linuxx64.efi.stub'

async function findObjcopy(): Promise<Found<string>> {
  try {
    const { length } = execFileSync('objcopy', ['--info'], { encoding: 'utf8' }).match(/pei-x86-64/) ?? []
    return length === undefined ? { missing: "this machine's objcopy does not know PE" } : { found: 'objcopy' }
  } catch {
    return { missing: 'objcopy of binutils is not installed' }
  }
}

t.test('made by objcopy', async (t) => {
  const objcopy = await requirePeer(t, findObjcopy)
  if (objcopy === undefined) return
  const dir = t.testdir({})
  const at = (name: string) => join(dir, name)
  const linux = buildBzImage({ payload: compress('gzip', pvKernelFile()), version: '6.12 test' })
  writeFileSync(at('linux'), linux)
  writeFileSync(at('cmdline'), 'quiet')
  if (!existsSync(STUB)) {
    const code = patternBytes(64)
    const text = { name: '.text', data: code, addr: 0x1000, header: { sh_flags: 6 } }
    const segments = [{ paddr: 0x1000, data: code }]
    writeFileSync(at('elf'), buildElf({ class: 64, entry: 0x1000, segments, sections: [text] }))
    execFileSync(objcopy, ['-I', 'elf64-x86-64', '-O', 'pei-x86-64', at('elf'), at('stub')])
  }
  const added = { '.cmdline': ['cmdline', '0x3000000'], '.linux': ['linux', '0x4000000'] } as const
  const options = Object.entries(added).flatMap(([section, [file, address]]) => [
    ...['--add-section', `${section}=${at(file)}`],
    ...['--change-section-vma', `${section}=${address}`],
  ])
  execFileSync(objcopy, [...options, existsSync(STUB) ? STUB : at('stub'), at('uki')])

  const kernel = await readKernel(readFileSync(at('uki')))
  t.match(kernel, { container: 'uki', codec: 'gzip', linux: { version: '6.12 test' }, xen: { loader: 'generic' } })
  t.same(Buffer.from(kernel.linux?.bytes ?? []), Buffer.from(linux))
  const rows = execFileSync('objdump', ['-h', at('uki')], { encoding: 'utf8' }).matchAll(
    /^ *\d+ (\S+) +([0-9a-f]+) +[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+)/gm,
  )
  t.same(
    kernel.uki?.map(({ name, offset, size }) => [name, size, offset]),
    [...rows].map(([, name, size = '', offset = '']) => [name, Number.parseInt(size, 16), Number.parseInt(offset, 16)]),
  )
  // As inspect's remark says.
  execFileSync(objcopy, ['-O', 'binary', '-j', '.cmdline', at('uki'), at('taken')])
  t.equal(readFileSync(at('taken'), 'latin1'), 'quiet')
})
