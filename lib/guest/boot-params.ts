/**
 * readBootParams: reads boot_params from the memory of any guest, built here or not.
 *
 * Source: Linux Documentation/arch/x86/zero-page.rst (https://docs.kernel.org/arch/x86/zero-page.html).
 * Gotcha: only %esi or %rsi points to boot_params, and may have changed since; the boot information keeps the address.
 * In real mode a guest has only the setup header, and code in place of the rest, which reads as zero.
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
 * Decodes boot_params at the address in the boot information.
 * @throws DomainBuilderError `bad-config` for a guest without one.
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

/** The fields of a boot sector and setup code that a loader writes, in a page that is otherwise zero. */
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

/** The command line that boot_params points to, up to the end of memory; empty if it points nowhere. */
export function readCommandLine(domain: Domain): string {
  const { hdr, ext_cmd_line_ptr, screen_info } = readBootParams(domain)
  if (hdr.version < PROTOCOL_CMD_LINE_PTR) {
    if (screen_info.cl_magic !== OLD_CMDLINE_MAGIC) return ''
    return readCString(domain.memory, OLD_SETUP_ADDRESS + screen_info.cl_offset)
  }
  return readCString(domain.memory, ext_cmd_line_ptr * 2 ** 32 + hdr.cmd_line_ptr)
}
