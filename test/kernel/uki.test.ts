/** A UKI's .linux section is a kernel like any other; its other sections are listed, and not used. */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { readStartInfo } from '../../lib/guest/start-info.js'
import { describeKernel, kernelText } from '../../lib/inspect/describe.js'
import { isKernelStart, readKernel } from '../../lib/kernel/kernel.js'
import { bootVerdicts } from '../../lib/kernel/verdict.js'
import { buildDomain } from '../../lib/protocol/build.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { buildUki } from '../fixtures/uki.js'
import { refuses } from './refusal.js'

const text = (value: string) => new TextEncoder().encode(value)
const elf = pvKernelFile({ notes: { PHYS32_ENTRY: [0x100000] } })
const linux = buildBzImage({ payload: new Uint8Array(gzipSync(elf)), version: '6.12 test' })
const uki = buildUki({
  '.osrel': text('ID=test\n'),
  '.cmdline': text('quiet'),
  '.initrd': new Uint8Array(700),
  '.linux': linux,
})

t.test('the kernel in it is read and built', async (t) => {
  t.ok(isKernelStart(uki.subarray(0, 0x400)), 'known by its headers alone')
  const kernel = await readKernel(uki)
  t.match(kernel, { container: 'uki', codec: 'gzip', xen: { loader: 'generic' }, linux: { version: '6.12 test' } })
  t.same(Buffer.from(kernel.linux?.bytes ?? []), Buffer.from(linux), 'without the padding after the section')
  t.same(Buffer.from(kernel.elf?.bytes ?? []), Buffer.from(elf))
  const config = { type: 'pv', memory: 16 * 2 ** 20 } as const
  const [ours, plain] = [buildDomain(kernel, config), buildDomain(await readKernel(elf), config)]
  t.same(ours.regions, plain.regions)
  t.equal(readStartInfo(ours).cmd_line, '', 'its .cmdline is not used')
  t.equal(ours.kernel?.container, 'uki')
  for (const verdict of bootVerdicts(kernel)) {
    t.ok(verdict.ok)
    const said = 'needs' in verdict && verdict.needs.some((need) => /Xen itself cannot load .*; extract it/.test(need))
    t.equal(said, verdict.type !== 'linux', `${verdict.type}: what Xen itself thinks of the file`)
  }
  t.match(await readKernel(new Uint8Array(gzipSync(uki))), { container: 'gzip', xen: { loader: 'generic' } })
  t.match(
    await readKernel(buildUki({ '.linux': elf })),
    { container: 'uki', xen: { loader: 'generic' } },
    'an ELF in it',
  )
})

t.test('its sections are shown', async (t) => {
  const kernel = await readKernel(uki)
  t.match(describeKernel(kernel), {
    container: 'uki',
    uki: [
      { name: '.osrel', size: 8 },
      { name: '.cmdline', size: 5 },
      { name: '.initrd', size: 700 },
      { name: '.linux', offset: uki.length - Math.ceil(linux.length / 512) * 512, size: linux.length },
    ],
  })
  const lines = kernelText(kernel).join('\n')
  t.match(lines, /^kernel {3}uki, gzip payload$/m)
  t.match(lines, /^not used: \.cmdline, \.initrd; /m)
  t.notMatch(kernelText(await readKernel(buildUki({ '.linux': elf }))).join('\n'), /not used/)
})

t.test('damage', async (t) => {
  const noKernel = buildUki({ '.text': new Uint8Array(100) })
  await refuses(t, () => readKernel(noKernel), 'not-a-kernel', 'an EFI or Windows program without')
  t.notOk(isKernelStart(noKernel))
  await refuses(
    t,
    () => readKernel(uki.subarray(0, uki.length - 600)),
    'truncated',
    'the .linux section reaches past the end of the file',
  )
  await refuses(
    t,
    () => readKernel(buildUki({ '.linux': text('hello') })),
    'not-a-kernel',
    'the .linux section is not a kernel: expected an ELF or a Linux bzImage, found a text file',
  )
  // Any byte of the headers may be wrong: a refusal or a kernel, never another error.
  const plain = buildUki({ '.cmdline': text('quiet'), '.linux': elf })
  const damaged = [
    ...[...range(0, 2), ...range(0x3c, 0x40), ...range(0x80, 0x98), ...range(0x188, 0x1d8)].map((at) => {
      const bytes = plain.slice()
      bytes[at] = (bytes[at] ?? 0) ^ 0xff
      return bytes
    }),
    ...range(0, 0x240)
      .filter((length) => length % 16 === 1)
      .map((length) => plain.subarray(0, length)),
  ]
  const errors = await Promise.all(damaged.map((bytes) => readKernel(bytes).catch((error: Error) => error)))
  t.same(
    errors.filter((error) => error instanceof Error && error.name !== 'DomainBuilderError'),
    [],
  )
  t.ok(errors.filter((error) => error instanceof Error).length > 50, 'many are refused')
})

const range = (start: number, end: number): number[] => Array.from({ length: end - start }, (_, i) => start + i)
