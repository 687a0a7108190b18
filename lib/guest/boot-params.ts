/**
 * readBootParams: the boot_params of a guest, out of its memory, whoever built it.
 *
 * Source: Linux Documentation/arch/x86/zero-page.rst (https://docs.kernel.org/arch/x86/zero-page.html).
 * Gotcha: a kernel finds boot_params through %esi or %rsi alone; the boot information says where that pointed at first. A
 * guest in real mode has only the setup header yet, and code where the rest would be: that reads as zero.
 */
import {
  BootParams,
  type BootParamsFields,
  OLD_CMDLINE_MAGIC,
  OLD_SETUP_ADDRESS,
  PROTOCOL_CMD_LINE_PTR,
  ScreenInfo,
  SETUP_HEADER_OFFSET,
  SetupHeader,
} from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import { readCString } from './c-string.js'
import type { Domain } from './domain.js'
import { inRealMode } from './vcpu.js'

/**
 * Decodes boot_params where the boot information says it is.
 * @throws DomainBuilderError `bad-config` for a guest that has none.
 */
export function readBootParams(domain: Domain): BootParamsFields {
  const { boot } = domain
  if (boot.kind !== 'boot_params') {
    throw new DomainBuilderError('bad-config', 'the guest has no boot_params', {
      expected: 'linux',
      found: domain.type,
    })
  }
  const page = domain.memory.read(boot.bootParams, BootParams.size)
  const [vcpu] = domain.vcpus
  return BootParams.decode(vcpu !== undefined && inRealMode(vcpu) ? loaderFields(page) : page)
}

/** What of a boot sector and setup code a loader writes, in a page that is zero otherwise. */
function loaderFields(setup: Uint8Array): Uint8Array {
  const page = new Uint8Array(setup.length)
  for (const [start, bytes] of [
    [ScreenInfo.offsetOf('cl_magic'), ScreenInfo.sizeOf('cl_magic') + ScreenInfo.sizeOf('cl_offset')],
    [SETUP_HEADER_OFFSET, SetupHeader.size],
  ] as const) {
    page.set(setup.subarray(start, start + bytes), start)
  }
  return page
}

/** The command line that boot_params point to, as far as there is memory; empty where they point nowhere. */
export function readCommandLine(domain: Domain): string {
  const { hdr, ext_cmd_line_ptr, screen_info } = readBootParams(domain)
  if (hdr.version < PROTOCOL_CMD_LINE_PTR) {
    if (screen_info.cl_magic !== OLD_CMDLINE_MAGIC) return ''
    return readCString(domain.memory, OLD_SETUP_ADDRESS + screen_info.cl_offset)
  }
  return readCString(domain.memory, ext_cmd_line_ptr * 2 ** 32 + hdr.cmd_line_ptr)
}
