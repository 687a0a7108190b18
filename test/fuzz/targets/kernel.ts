/**
 * Kernels: read, described, and built into a guest of every type that they claim to be.
 *
 * Source: the sound kernels of test/fixtures/mutator.ts and kernels.ts.
 * Gotcha: with a large payload, most of the time would go to its bytes instead of the headers.
 */
import { buildDomain, describeKernel, kernelText, readKernel } from '../../../lib/index.js'
import { describeVerdict } from '../../../lib/inspect/describe-verdicts.js'
import { splitPayload } from '../../../lib/kernel/unwrap.js'
import { bootVerdict, bootVerdicts, VERDICT_TYPES } from '../../../lib/kernel/verdict.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../../fixtures/kernels.js'
import { soundKernels } from '../../fixtures/mutator.js'
import { buildUki } from '../../fixtures/uki.js'
import type { Target } from '../target.js'
import { orRefuse, requirePrintable, useGuest } from './use-guest.js'

const MEMORY = 8 * 2 ** 20
const PAYLOAD_MAX = 2 ** 20

export const kernelTarget = (): Target => ({
  name: 'kernel',
  executions: 5000,
  maxBytes: 20_000,
  tokens: [
    '\x7fELF',
    'Xen\0',
    '__xen_guest\0',
    'HdrS',
    'VIRT_BASE=0x',
    'PADDR_OFFSET=0x',
    'FEATURES=',
    'PAE=yes[extended-cr3]',
    'LOADER=generic',
    'XEN_VER=xen-3.0,',
    'GUEST_OS=',
    'BSD_SYMTAB=yes',
    'xen-3.0\0',
    'generic\0',
    'writable_page_tables|',
    '!pae_pgdir_above_4gb',
    'dom0|',
    'hvm_callback_vector',
    Uint8Array.of(0x1f, 0x8b, 8, 0),
    Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0),
    Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd),
  ],
  async seeds() {
    return [
      ...soundKernels(),
      pvKernelFile({ pages: 1 }),
      pvKernelFile({ class: 32, pages: 1 }),
      pvhKernelFile({ paddr: 0x100000 }),
      linuxKernelFile(64),
      linuxKernelFile(32),
      buildUki({ '.cmdline': new Uint8Array(9), '.linux': pvKernelFile({ pages: 1 }) }),
    ]
  },
  async run(bytes) {
    const kernel = await readKernel(bytes, { maxBytes: PAYLOAD_MAX })
    const verdicts = bootVerdicts(kernel)
    const byName = VERDICT_TYPES.map((type) => bootVerdict(kernel, type))
    JSON.stringify([describeKernel(kernel), verdicts.map(describeVerdict)])
    requirePrintable(kernelText(kernel))
    const { elf } = kernel
    if (elf !== undefined) orRefuse(() => splitPayload(elf))
    for (const { type, ok } of byName)
      if (ok)
        orRefuse(() => useGuest(buildDomain(kernel, { type, memory: MEMORY, ramdisk: new Uint8Array(5000) }), bytes))
  },
})
